"""One request of a LiveKit session and the chunks of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from livekit.agents import APIError, llm
from livekit.agents.llm import ChatChunk, ChoiceDelta, CompletionUsage, FunctionToolCall
from livekit.agents.types import APIConnectOptions
from trunkline import ResponseStream, ServerEvent, TrunklineError
from trunkline.events import (
    OutputItemDone,
    OutputTextDelta,
    RefusalDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseIncomplete,
)

from .access import Access
from .conversations import Conversation
from .failures import AT_ONCE, livekit_error
from .log import logger

JSON: TypeAlias = dict[str, Any]

_OF_THE_AGENT = frozenset({"message", "reasoning", "function_call"})


class LLMStream(llm.LLMStream):
    """The answer to one request. Closing it early does not delay the next request."""

    def __init__(
        self,
        llm: llm.LLM[Any],
        access: Access,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        fields: JSON,
    ) -> None:
        super().__init__(llm, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        self._access = access
        self._fields = fields
        self._conversation: Conversation | None = None
        self._response_id = ""
        self._spoken = False
        self._heard: list[str] = []
        self._called: set[str] = set()

    async def _run(self) -> None:
        try:
            async with self._ask() as answer:
                async for event in answer:
                    if type(event) is OutputTextDelta:
                        self._heard.append(event.delta)
                    else:
                        self._take(event)
                    if not answer.waiting:
                        self._say()
        except TrunklineError as error:
            self._say()
            raise livekit_error(error, spoken=self._spoken, acts=self._acts()) from error

    def _ask(self) -> ResponseStream:
        items = self._chat_ctx.items
        if self._conversation is None:
            self._conversation = self._access.conversations.of(items)
        client, limit = self._access.client, self._conn_options.timeout
        request = {"tools": self._access.definitions.of(self._tools) or None, **self._fields}
        return client.stream(
            input=self._conversation.transcript.following(items),
            key=self._conversation,
            deadlines=replace(client.deadlines, connect=self._access.connect_s or limit, first_event=limit),
            policy=AT_ONCE,
            **request,
        )

    def _take(self, event: ServerEvent) -> None:
        if isinstance(event, ResponseCreated):
            self._response_id = event.response.id
        elif isinstance(event, OutputItemDone):
            self._take_item(event.item)
        elif isinstance(event, RefusalDelta):
            self._heard.append(event.delta)
        elif isinstance(event, ResponseCompleted | ResponseIncomplete):
            self._conclude(event)

    def _say(self) -> None:
        """Send the received text as one chunk; each chunk costs LiveKit an event loop iteration."""
        text = "".join(self._heard)
        self._heard.clear()
        if text:
            self._spoken = True
            self._send(ChoiceDelta(role="assistant", content=text))

    def _take_item(self, item: JSON) -> None:
        kind = item.get("type")
        if kind == "function_call" and item.get("status") in (None, "completed"):
            self._call(item)
        elif kind == "message" and item.get("phase") is not None:
            self._send(ChoiceDelta(role="assistant", extra={"openai": {"phase": item["phase"]}}))
        elif kind not in _OF_THE_AGENT:
            logger.info("provider tool executed", extra={"tool_type": kind})

    def _call(self, item: Mapping[str, Any]) -> None:
        if not item["name"]:
            raise APIError("the service sent a tool call without a name", retryable=not self._spoken)
        call = FunctionToolCall(call_id=item["call_id"], name=item["name"], arguments=item["arguments"])
        if call.call_id in self._called:
            return
        self._called.add(call.call_id)
        self._spoken = True
        self._send(ChoiceDelta(role="assistant", tool_calls=[call]))

    def _conclude(self, event: ResponseCompleted | ResponseIncomplete) -> None:
        self._say()
        response = event.response
        if isinstance(event, ResponseCompleted):
            for item in response.tool_calls:  # some gateways send no item events
                if item["type"] == "function_call":
                    self._call(item)
        else:
            reason = (response.incomplete_details or {}).get("reason")
            logger.warning("the answer is incomplete", extra={"reason": reason, "response_id": response.id})
        if response.usage is not None:
            tier = event.json()["response"].get("service_tier")
            self._event_ch.send_nowait(ChatChunk(id=self._response_id, usage=_usage(response.usage, tier)))

    def _send(self, delta: ChoiceDelta) -> None:
        if self._heard:
            self._say()
        self._event_ch.send_nowait(ChatChunk(id=self._response_id, delta=delta))

    def _acts(self) -> bool:
        """Whether tools of the service may have side effects, which makes a retry unsafe."""
        tools = self._fields.get("tools") or self._access.definitions.of(self._tools)
        return "conversation" in self._fields or any(tool.get("type") == "mcp" for tool in tools)


def _usage(usage: JSON, service_tier: str | None) -> CompletionUsage:
    of_input = usage.get("input_tokens_details") or {}
    of_output = usage.get("output_tokens_details") or {}
    return CompletionUsage(
        completion_tokens=usage.get("output_tokens") or 0,
        prompt_tokens=usage.get("input_tokens") or 0,
        prompt_cached_tokens=of_input.get("cached_tokens") or 0,
        cache_creation_tokens=of_input.get("cache_write_tokens") or 0,
        reasoning_tokens=of_output.get("reasoning_tokens") or 0,
        total_tokens=usage.get("total_tokens") or 0,
        service_tier=service_tier,
    )
