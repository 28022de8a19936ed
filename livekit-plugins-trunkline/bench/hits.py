"""Whole sessions that are hit by something: what is lost, and what is said twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from livekit.agents import Agent, AgentSession
from livekit.agents.llm import ChatContext, ChatItem
from trunkline.emulator import assert_context

from .served import Served

WORDS = "one two three four five six seven eight nine ten eleven twelve"


@dataclass
class Toll:
    """What one hit cost.

    Attributes:
        unanswered: turns for which nothing was said.
        repeated: words that were said twice.
        wrong: answers that were made from another context than the session's.
    """

    unanswered: int = 0
    repeated: int = 0
    wrong: int = 0


async def toll_of(hit: str, llm: Any, served: Served) -> Toll:
    """A session of five turns, of which the third is hit."""
    toll = Toll()
    async with AgentSession[Any](llm=llm) as session:
        await session.start(Agent(instructions="Be brief."), record=False)
        for number in range(5):
            await _turn(session, served, f"turn {number} {WORDS}", hit if number == 2 else "", toll)
    return toll


async def _turn(session: AgentSession[Any], served: Served, words: str, hit: str, toll: Toll) -> None:
    _strike(hit, served)
    answers = sum(item.role == "assistant" for item in session.history.messages())
    made = len(served.ask("contexts"))
    asked = session.generate_reply(user_input=words)
    if hit == "a barge-in":
        await asyncio.sleep(0.2)
        await session.interrupt()
    with suppress(Exception):
        await asyncio.wait_for(asked, 20)
    served.ask("pace", 0, None)
    said = [item for item in session.history.messages() if item.role == "assistant"][answers:]
    text = " ".join(item.text_content or "" for item in said)
    toll.unanswered += not text
    toll.repeated += len(text.split()) - len(set(text.split()))
    held = session.current_agent.chat_ctx.items[: -len(said) or None]
    completed = [seen for status, seen in served.ask("contexts")[made:] if status == "completed"]
    toll.wrong += sum(not _is_what_is_held(seen, held) for seen in completed)


def _strike(hit: str, served: Served) -> None:
    if hit == "a refused turn":
        served.ask("fault", "reject", {"status": 503})
    elif hit == "a socket killed between turns":
        served.ask("drop")
    elif hit == "a socket killed before the first word":
        served.ask("fault", "drop", {"event_type": "response.in_progress"})
    elif hit == "a socket killed in mid-answer":
        served.ask("pace", 0, 50)
        served.ask("fault", "drop", {"event_type": "response.output_text.delta", "event": 10})
    elif hit == "a parent that is lost":
        served.ask("lose_parent")
    elif hit == "a barge-in":
        served.ask("pace", 0, 30)


def _is_what_is_held(seen: Sequence[dict[str, Any]], held: Sequence[ChatItem]) -> bool:
    expected, _ = ChatContext(list(held)).to_provider_format("openai.responses")
    try:
        assert_context(seen, expected)
    except AssertionError:
        return False
    return True


HITS = (
    "nothing",
    "a refused turn",
    "a socket killed between turns",
    "a socket killed before the first word",
    "a parent that is lost",
    "a barge-in",
    "a socket killed in mid-answer",
)
