"""One request of a LiveKit session and the chunks of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

from livekit.agents import APIError, llm
from livekit.agents.llm import ChatChunk, ChoiceDelta, FunctionToolCall
from livekit.agents.types import APIConnectOptions
from trunkline import Deadlines, Response, ResponseStream, ServerEvent, TrunklineError, TurnMetrics
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
from .failures import AT_ONCE, late_output, livekit_error, no_output
from .log import logger
from .metrics import unlistened, usage_of

JSON: TypeAlias = dict[str, Any]

_OF_THE_AGENT = frozenset({"message", "reasoning", "function_call"})

stream_of_metrics: ContextVar[LLMStream | None] = ContextVar("stream_of_metrics", default=None)
"""The stream whose metrics LiveKit makes in the current task."""


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
        self._answer: ResponseStream | None = None
        self._response_id = ""
        self._spoken = False
        self._heard: list[str] = []
        self._called: set[str] = set()

    @property
    def turn(self) -> TurnMetrics | None:
        """The figures of the latest request; None before the first."""
        return self._answer.metrics if self._answer is not None else None

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[ChatChunk]) -> None:
        stream_of_metrics.set(self)  # for `LLM.emit`
        await super()._metrics_monitor_task(event_aiter)

    async def _run(self) -> None:
        self._heard.clear()
        try:
            async with self._ask() as answer:
                await self._read(answer)
        except TrunklineError as error:
            self._say()
            made = livekit_error(error, spoken=self._spoken, acts=self._acts())
            # Error reporters show the local variables of each frame, and frames of `_ask` hold the context.
            raise made from error.with_traceback(None)

    def _ask(self) -> ResponseStream:
        self._access.check_open()
        client, limit = self._access.client, self._conn_options.timeout
        items = self._chat_ctx.items
        if self._conversation is None:
            self._conversation = self._access.conversations.of(items)
        request = {"tools": self._access.definitions.of(self._tools) or None, **self._fields}
        self._answer = client.stream(
            input=self._conversation.transcript.following(items),
            key=self._conversation,
            deadlines=_deadlines(client.deadlines, self._access.connect_s or limit, limit),
            policy=AT_ONCE,
            **request,
        )
        context = copy_context()
        self._answer.when_drained(lambda turn: context.run(self._emit_drained, turn))
        return self._answer

    async def _read(self, answer: ResponseStream) -> None:
        limit_s = self._conn_options.timeout
        silence = asyncio.timeout(limit_s)
        is_silent = True
        try:
            async with silence:
                async for event in answer:
                    if is_silent:  # life-cycle events come together with the first output
                        is_silent = False
                        silence.reschedule(None)
                    if type(event) is OutputTextDelta:
                        self._heard.append(event.delta)
                    else:
                        self._take(event)
                    if not answer.waiting:
                        self._say()
        except TimeoutError:
            if not silence.expired():  # a deadline of the client
                raise
            raise late_output(limit_s, acts=self._acts()) from None

    def _emit_drained(self, turn: TurnMetrics) -> None:
        # In the context of the request, in which LiveKit finds the speech that the tokens belong to.
        self._llm.emit("metrics_collected", unlistened(self._llm, turn, cancelled=True))

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
        if not self._spoken and not (isinstance(event, ResponseCompleted) and self._may_be_silent()):
            raise self._no_output(response)
        if response.usage is not None:
            tier = event.json()["response"].get("service_tier")
            self._event_ch.send_nowait(ChatChunk(id=self._response_id, usage=usage_of(response.usage, tier)))

    def _may_be_silent(self) -> bool:
        """Whether a model may have nothing to say: after the outputs of tools, such as one that hangs up."""
        items = self._chat_ctx.items
        return bool(items) and items[-1].type == "function_call_output"

    def _no_output(self, response: Response) -> APIError:
        """The error for an answer without output, after its tokens: LiveKit counts none of failures."""
        if response.usage is not None and self.turn is not None:
            turn = replace(self.turn, usage=response.usage)
            self._llm.emit("metrics_collected", unlistened(self._llm, turn, cancelled=False))
        return no_output(response, acts=self._acts())

    def _send(self, delta: ChoiceDelta) -> None:
        if self._heard:
            self._say()
        self._event_ch.send_nowait(ChatChunk(id=self._response_id, delta=delta))

    def _acts(self) -> bool:
        """Whether tools of the service may have side effects, which makes a retry unsafe."""
        return self._answer is not None and self._answer.may_act


@lru_cache(maxsize=64)
def _deadlines(of_client: Deadlines, connect_s: float, first_event_s: float) -> Deadlines:
    """The deadlines of a request. Most requests of a session have the same."""
    return replace(of_client, connect=connect_s, first_event=first_event_s)
