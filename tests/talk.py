"""Helpers for turns of a client with an emulator: sending, reading, timing and checking the context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import random
from typing import Any

import trunkline
from trunkline.emulator import Emulator, Gate, ResponseRecord, assert_context
from trunkline.events import OutputTextDelta

DELTA = "response.output_text.delta"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def client_of(emulator: Emulator, **options: Any) -> trunkline.Client:
    """A client of this server, with lanes."""
    given = {"base_url": emulator.base_url, "api_key": emulator.api_key, "lanes": True, **options}
    return trunkline.Client(**given)


async def read(stream: trunkline.ResponseStream) -> trunkline.ResponseStream:
    """Enter a stream and read it to its end."""
    async with stream:
        await stream.finish()
    return stream


async def ask(chat: trunkline.Conversation, words: Any, **fields: Any) -> trunkline.ResponseStream:
    """One turn of a conversation, read to its end."""
    return await read(chat.send(words, **fields))


async def collect(stream: trunkline.ResponseStream, into: list[trunkline.ServerEvent]) -> None:
    """Append the events to a list, which keeps them if the stream raises."""
    async for event in stream:
        into.append(event)


async def first_text(stream: trunkline.ResponseStream) -> str:
    """Read until the next text delta."""
    async for event in stream:
        if isinstance(event, OutputTextDelta):
            return event.delta
    raise AssertionError("the stream ended without text")


async def types_of(stream: trunkline.ResponseStream) -> list[str]:
    """The types of all remaining events."""
    return [event.type async for event in stream]


class Timing:
    """A clock that the test advances, and an upkeep that the test runs.

    Deadlines never pass by themselves, because they use the same clock.
    """

    UPKEEP_S = 3600.0

    def __init__(self) -> None:
        self.now = 1000.0
        self.random: Callable[[], float] = random
        self._upkeep: Callable[[], object] = lambda: None

    @property
    def world(self) -> trunkline.World:
        """The client's ``world``; it also needs ``PoolLimits(upkeep_s=Timing.UPKEEP_S)``."""
        return trunkline.World(
            clock=lambda: self.now, call_later=self.call_later, random=lambda: self.random()
        )

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Any:
        if delay_s == self.UPKEEP_S:
            self._upkeep = callback
        return asyncio.get_running_loop().call_later(delay_s, callback)

    def keep_up(self) -> None:
        """Run the client's periodic upkeep once."""
        self._upkeep()


def hold_after_first_word(emulator: Emulator) -> Gate:
    """Hold the next answer after its first word, until the gate is opened."""
    return emulator.faults.hold(event=6)


def stall_in_mid_answer(emulator: Emulator, **where: Any) -> None:
    """Stop the next answer after two words, for ever."""
    emulator.faults.add("stall", event=7, **where)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def output_for(call: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call["call_id"], "output": text}


def tool_outputs(chat: trunkline.Conversation) -> list[str]:
    """Outputs of the tool calls of a conversation, in the order of the history."""
    return [item["output"] for item in chat.items if item["type"] == "function_call_output"]


def record_of(emulator: Emulator, stream: trunkline.ResponseStream) -> ResponseRecord:
    """The emulator's record of the stream's final response."""
    return emulator.responses[stream.response.id]


def assert_kept(emulator: Emulator, chat: trunkline.Conversation, response: trunkline.Response) -> None:
    """Assert that the model's context and output equal the conversation's items."""
    record = emulator.responses[response.id]
    assert_context([*record.effective_context, *record.output], chat.items)


def texts(items: list[dict[str, Any]]) -> list[str]:
    """Role and text of the messages among these items."""
    return [f"{item['role']}: {_text(item['content'])}" for item in items if "role" in item]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
