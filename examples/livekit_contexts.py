"""The contexts that the model sees in a LiveKit session: with the openai plugin, and with trunkline.

    pip install ".[emulator]" ./livekit-plugins-trunkline livekit-plugins-openai     # in a clone
    python examples/livekit_contexts.py

Two sessions with the same words run on an emulator in this process, so no API key is needed. The emulator
records the effective context of each response: the items that the model answered from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.llm import LLM, ChatContext
from livekit.agents.utils import http_context
from livekit.plugins import openai, trunkline

from trunkline.emulator import Emulator, assert_context

MODEL = "gpt-6-astra"
WORDS = ("Good evening", "A table for two please", "At eight", "And a high chair", "Thank you")


class Receptionist(Agent):
    """An agent with one tool."""

    def __init__(self) -> None:
        super().__init__(instructions="You are the receptionist of a small restaurant. Be brief.")

    @function_tool
    async def book_table(self, guests: int) -> str:
        """Book a table.

        Args:
            guests: the number of people.
        """
        return f"booked for {guests}"


def held_by(session: AgentSession[None]) -> list[dict[str, Any]]:
    """The context of the last request, as input items: all items of the session without the answer."""
    context = ChatContext(session.current_agent.chat_ctx.items[:-1])
    items, _ = context.to_provider_format("openai.responses")
    return items


def is_equal(seen: Sequence[dict[str, Any]], held: Sequence[dict[str, Any]]) -> bool:
    """Whether the model saw what the session holds."""
    try:
        assert_context(list(seen), list(held))
    except AssertionError:
        return False
    return True


async def converse(name: str, llm: LLM[Any], emulator: Emulator) -> None:
    """A session of five turns; print for each how many items it held, and how many the model saw."""
    print(f"{name}\n  turn  items held  items seen")
    async with AgentSession[None](llm=llm) as session:
        await session.start(Receptionist(), record=False)
        for number, words in enumerate(WORDS, 1):
            await session.run(user_input=words)
            held = held_by(session)
            seen = list(emulator.responses.values())[-1].effective_context
            verdict = "equal" if is_equal(seen, held) else "different"
            print(f"  {number:>4}  {len(held):>10}  {len(seen):>10}  {verdict}")


async def main() -> None:
    """Run both sessions."""
    logging.getLogger("livekit.agents").setLevel(logging.ERROR)
    async with Emulator() as emulator, http_context.open():
        url, key = emulator.base_url, emulator.api_key or ""
        for name, llm in (
            ("openai plugin", openai.responses.LLM(model=MODEL, base_url=f"{url}/responses", api_key=key)),
            ("trunkline", trunkline.LLM(model=MODEL, base_url=url, api_key=key)),
        ):
            emulator.expect("for two please").calls("book_table", guests=2)
            await converse(name, llm, emulator)
            await llm.aclose()


if __name__ == "__main__":
    asyncio.run(main())
