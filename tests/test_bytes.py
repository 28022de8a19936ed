"""A continued conversation sends its new items and its fixed fields, and at most 5 % more."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

import trunkline
from trunkline.emulator import Emulator

from .talk import assert_kept, client_of

TURNS = 50
ENVELOPE = ("previous_response_id", "stream_id")
INSTRUCTIONS = "You look up the weather for people who plan their day, and you are brief. " * 20


def get_weather(city: str, day: str = "today", unit: str = "celsius") -> str:
    """Look up the weather in a city.

    Ask for one city at a time. The answer is a remark of a person at the window, in one short sentence
    without numbers, unless numbers are requested; then the temperature comes first and the wind second.
    """
    return f"It rains in {city}, as it did yesterday and the day before; take an umbrella with you."


def size_of(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def new_bytes(body: dict[str, Any]) -> int:
    """Size of the items of a request and of the fields that every request has."""
    fixed = {name: value for name, value in body.items() if name not in ("input", *ENVELOPE)}
    return size_of(fixed) + sum(size_of(item) + 1 for item in body["input"])


async def bytes_of_conversation(placement: Literal["message", "field"]) -> int:
    """The bytes of all requests of a tool conversation."""
    async with Emulator() as emulator, client_of(emulator) as client:
        chat = client.conversation(
            model="tools",
            instructions=INSTRUCTIONS,
            instructions_placement=placement,
            tools=[get_weather],
        )
        for number in range(TURNS // 2):
            await chat.run(f"And what is the weather in city number {number}?")
        requests = [request for request in emulator.requests if request.body is not None]
        assert len(requests) == TURNS
        assert len({request.connection_id for request in requests}) == 1
        return sum(request.size_bytes for request in requests)


async def test_instructions_as_a_message_are_sent_once() -> None:
    repeated, once = await bytes_of_conversation("field"), await bytes_of_conversation("message")
    saved = (TURNS - 1) * len(INSTRUCTIONS)
    assert saved <= repeated - once <= saved + TURNS * len('"instructions":"",')


@pytest.mark.parametrize("store", [None, False])
async def test_a_tool_conversation_of_50_turns_sends_only_new_items(store: bool | None) -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        chat = client.conversation(model="tools", instructions=INSTRUCTIONS, tools=[get_weather], store=store)
        for number in range(TURNS // 2):  # each run makes two turns: a call and an answer
            response = await chat.run(f"And what is the weather in city number {number}?")
            assert_kept(emulator, chat, response)
        requests = [request for request in emulator.requests if request.body is not None]
        assert len(requests) == TURNS
        assert 1800 <= size_of([INSTRUCTIONS, requests[0].body["tools"]]) <= 2400  # type: ignore[index]
        sent = sum(request.size_bytes for request in requests)
        needed = sum(new_bytes(request.body) for request in requests if request.body is not None)
        assert needed < sent <= 1.05 * needed, (sent, needed)
        assert [len(request.body["input"]) for request in requests if request.body] == [1] * TURNS
        assert len({request.connection_id for request in requests}) == 1
        assert_items_went_once(chat, requests)


def assert_items_went_once(chat: trunkline.Conversation, requests: list[Any]) -> None:
    """Assert that each item of the application was sent once, and no item of the model at all."""
    sent = [item for request in requests for item in request.body["input"]]
    mine = [
        item for item in chat.items if item.get("role") == "user" or item["type"] == "function_call_output"
    ]
    assert sent == mine
