"""How tests talk: sessions in text mode, single requests, and what the model saw of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import Agent, AgentSession
from livekit.agents.llm import ChatChunk, ChatContext, ChatItem, CollectedResponse
from livekit.agents.types import APIConnectOptions
from trunkline.emulator import Emulator, ResponseRecord, assert_context

MODEL = "gpt-6-astra"
ONCE = APIConnectOptions(max_retry=0)
SOON = APIConnectOptions(max_retry=2, retry_interval=0.01)


@asynccontextmanager
async def session_of(llm: Any, agent: Agent, **options: Any) -> AsyncIterator[AgentSession[Any]]:
    """A session in text mode, with its agent."""
    async with AgentSession[Any](llm=llm, **options) as session:
        await session.start(agent, record=False)
        yield session


def context(*said: str) -> ChatContext:
    """A context in which a user and an assistant have spoken in turns."""
    made = ChatContext.empty()
    for index, text in enumerate(said):
        made.add_message(role="assistant" if index % 2 else "user", content=text)
    return made


async def ask(llm: Any, chat_ctx: ChatContext, **options: Any) -> CollectedResponse:
    """One request, read to its end; the answer is added to the context."""
    async with llm.chat(chat_ctx=chat_ctx, **options) as stream:
        answer: CollectedResponse = await stream.collect()
    if answer.text:
        chat_ctx.add_message(role="assistant", content=answer.text)
    return answer


async def chunks_of(llm: Any, chat_ctx: ChatContext, **options: Any) -> list[ChatChunk]:
    """The chunks of one request."""
    async with llm.chat(chat_ctx=chat_ctx, **options) as stream:
        return [chunk async for chunk in stream]


def responses(emulator: Emulator) -> list[ResponseRecord]:
    """Every response, in order."""
    return list(emulator.responses.values())


def latest(emulator: Emulator) -> ResponseRecord:
    """The response made last."""
    return responses(emulator)[-1]


def bodies(emulator: Emulator) -> list[dict[str, Any]]:
    """The bodies of all requests, in order."""
    return [request.body or {} for request in emulator.requests]


def new_items(emulator: Emulator) -> list[int]:
    """How many items each request carried."""
    return [len(body["input"]) for body in bodies(emulator)]


def as_input(items: Sequence[ChatItem]) -> list[dict[str, Any]]:
    """Chat items as LiveKit converts all of them."""
    converted, _ = ChatContext(list(items)).to_provider_format("openai.responses")
    return [_compact(item) for item in converted]


def check_contexts(emulator: Emulator, session: AgentSession[Any]) -> None:
    """The model saw at the last request what the session's agent holds, without the last answer."""
    check_context(latest(emulator), session.current_agent.chat_ctx.items)


def check_context(response: ResponseRecord, items: Sequence[ChatItem]) -> None:
    """The model saw these items when it made this response; its own output may stand at their end."""
    seen = [_compact(item) for item in response.effective_context]
    expected = as_input(items)
    output = [item for item in response.output if item["type"] != "reasoning"]
    held = expected[: len(expected) - len(output)] if _ends_with(expected, output) else expected
    assert_context(seen, held)


def _ends_with(items: Sequence[dict[str, Any]], output: Sequence[dict[str, Any]]) -> bool:
    if not output or len(items) < len(output):
        return False
    pairs = zip(items[-len(output) :], output, strict=True)
    return all(_said(held) == _said(made) for held, made in pairs)


def _said(item: dict[str, Any]) -> Any:
    if item.get("type", "message") != "message":
        return item.get("call_id")
    content = item["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _compact(item: dict[str, Any]) -> dict[str, Any]:
    """Normalise a call's arguments, which LiveKit reformats."""
    if item.get("type") != "function_call":
        return item
    return {**item, "arguments": json.dumps(json.loads(item["arguments"]))}
