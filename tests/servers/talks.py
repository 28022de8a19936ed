"""The conversations of these tests: with the client and with LiveKit's sessions, two at once.

Each turn is checked: the context of its answer, as the server or its upstream saw it, equals the items that
the application holds. The name of a conversation occurs in each of its messages, so that answers are unique.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import trunkline
from trunkline import TurnMetrics
from trunkline.emulator import Emulator, assert_context

from ..waiting import soon

Item = dict[str, Any]
Contexts = Callable[[str], Sequence[Item]]
"""The context and output of the response whose last message has this text."""

INSTRUCTIONS = "Be brief."
NAMES = ("Oslo", "Bergen")
TURNS = ("Good morning from {}.", "What is the weather in {}?", "Thanks, {}.", "Good night, {}.")
TURN_S = 60.0


async def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"12 degrees in {city}"


class Figures(list[TurnMetrics]):
    """The metrics of all turns of a client; give ``hooks`` to it."""

    @property
    def hooks(self) -> trunkline.Hooks:
        return trunkline.Hooks(turn_finished=self.append)

    @property
    def transports(self) -> set[str]:
        return {turn.transport for turn in self}

    @property
    def modes(self) -> list[str]:
        """Full or delta, sorted, of all turns."""
        return sorted(turn.mode for turn in self)

    @property
    def attempts(self) -> int:
        return sum(turn.attempts for turn in self)

    @property
    def lanes(self) -> set[str | None]:
        return {turn.lane for turn in self}


async def two_conversations(
    client: trunkline.Client,
    contexts: Contexts,
    *,
    model: str,
    store: bool,
    names: Sequence[str] = NAMES,
) -> None:
    """Take the turns of two conversations at once, with a tool, and check the context of each turn."""

    async def converse(name: str) -> None:
        chat = client.conversation(model=model, instructions=INSTRUCTIONS, tools=[get_weather], store=store)
        for turn in TURNS:
            answer = await soon(chat.run(turn.format(name)), TURN_S)
            assert_same(contexts(answer.output_text), chat.items)
        called = [item for item in chat.items if item["type"] == "function_call"]
        assert [json.loads(item["arguments"]) for item in called] == [{"city": name}]

    await asyncio.gather(*map(converse, names))


async def two_sessions(llm: Any, contexts: Contexts, *, names: Sequence[str] = NAMES) -> None:
    """The same with two sessions of LiveKit in text mode, on one LLM."""
    from livekit.agents import (  # type: ignore[import-not-found,unused-ignore]
        Agent,
        AgentSession,
        function_tool,
    )
    from livekit.agents.llm import ChatContext  # type: ignore[import-not-found,unused-ignore]

    async def converse(name: str) -> None:
        agent = Agent(instructions=INSTRUCTIONS, tools=[function_tool(get_weather)])
        async with AgentSession[Any](llm=llm) as session:
            await session.start(agent, record=False)
            for turn in TURNS:
                await soon(session.run(user_input=turn.format(name)), TURN_S)
                items, _ = ChatContext(session.current_agent.chat_ctx.items).to_provider_format(
                    "openai.responses"
                )
                answer = session.current_agent.chat_ctx.items[-1]
                assert_same(contexts(answer.text_content), items)

    await asyncio.gather(*map(converse, names))


def assert_same(seen: Sequence[Item], held: Sequence[Item]) -> None:
    """Assert that two contexts are equal.

    Arguments of calls are compared as JSON values. The instructions may be a message of one context and a
    field of the other one.
    """
    assert_context(*([_rewritten(item) for item in _without_instructions(items)] for items in (seen, held)))


def _without_instructions(items: Sequence[Item]) -> Sequence[Item]:
    return items[1:] if text_of(items[0]) == INSTRUCTIONS else items


def _rewritten(item: Item) -> Item:
    if item.get("type") != "function_call":
        return item
    return {**item, "arguments": json.dumps(json.loads(item["arguments"]))}


def upstream(emulator: Emulator) -> Contexts:
    """What the emulator saw as the upstream of a server."""

    def find(answer: str) -> list[Item]:
        found = [
            [*response.effective_context, *response.output]
            for response in emulator.responses.values()
            if response.output and text_of(response.output[-1]) == answer
        ]
        assert len(found) == 1, f"{len(found)} responses of the upstream have the text {answer!r}"
        return found[0]

    return find


def text_of(item: Item) -> str:
    content = item.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
