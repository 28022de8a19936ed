"""The shortcut of text deltas changes nothing that a caller sees.

One conversation is held twice over a `FakeNetwork`: as it is, and with an inbox that takes every delta by
`deliver`, which docs/design/0006-shortcut-for-text-deltas.md permits. All that the caller sees is compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import trunkline
from trunkline._protocol.events import OutputTextDelta, ReceivedEvent, ServerEvent
from trunkline._protocol.reception import Reception
from trunkline._turns.inbox import Inbox
from trunkline.emulator import FakeClock, FakeNetwork

from .talk import DELTA

Reader = Callable[[trunkline.ResponseStream], AsyncIterator[Any]]
Event = dict[str, Any]
FUNCTION_CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}


def message(text: str) -> Event:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def answer(number: int, *output: Event, numbered: bool = True) -> list[Event]:
    """The events of a response with these output items."""
    response = {"id": f"resp_{number}", "usage": {"output_tokens": 7}}
    events: list[Event] = [{"type": "response.created", "response": response}]
    events += [{"type": "response.in_progress", "response": response}]
    for index, item in enumerate(output):
        events += [{"type": "response.output_item.added", "item": item, "output_index": index}]
        if item["type"] == "message":
            text = item["content"][0]["text"]
            events += [{"type": DELTA, "delta": word, "output_index": index} for word in text.split(" ")]
        events += [{"type": "response.output_item.done", "item": item, "output_index": index}]
    events += [{"type": "response.completed", "response": {**response, "output": list(output)}}]
    if numbered:
        events = [{**event, "sequence_number": place} for place, event in enumerate(events)]
    return events


def conversation() -> list[list[Event]]:
    """The events of each turn."""
    plain = answer(1, message("one two three four"))
    disordered = answer(2, message("one two three four five six"))
    disordered[6:8] = [disordered[7], disordered[6], disordered[6]]  # early, late, and repeated
    disordered.insert(6, disordered[4])
    return [
        plain,
        disordered,
        answer(3, message("a moment"), FUNCTION_CALL),
        answer(4, message("it is done"), message("and more of it"), numbered=False),
    ]


async def events_of(stream: trunkline.ResponseStream) -> AsyncIterator[Any]:
    async for event in stream:
        yield event.raw


async def text_of(stream: trunkline.ResponseStream) -> AsyncIterator[Any]:
    async for piece in stream.text():
        yield piece


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def held(reader: Reader, *, at_once: bool) -> list[Any]:
    """Hold the conversation, and give all that its caller sees."""
    seen: list[Any] = []
    network, clock = FakeNetwork(), FakeClock()
    world = trunkline.World(
        clock=clock, wall_clock=clock, call_later=clock.call_later, random=lambda: 0.5, dial=network.dial
    )

    async def read(stream: trunkline.ResponseStream) -> None:
        async for each in reader(stream):
            seen.append((clock.now, each))

    async with trunkline.Client(api_key="k", base_url="http://fake/v1", lanes=True, world=world) as client:
        chat = client.conversation(model="m")
        given: Any = "go"
        for events in conversation():
            async with chat.send(given) as stream:
                [socket] = network.sockets
                reading = asyncio.create_task(read(stream))
                await settle()
                for event in events:
                    clock.advance(0.01)
                    socket.receive({**event, "stream_id": socket.sent[-1]["stream_id"]})
                    if not at_once:
                        await settle()
                await reading
                await stream.finish()
            seen += [stream.received_text, stream.response.output, stream.metrics]
            calls = [item for item in stream.response.output if item["type"] == "function_call"]
            given = [
                {"type": "function_call_output", "call_id": call["call_id"], "output": "o"} for call in calls
            ] or "go on"
        seen += [chat.items, client.state()]
    return seen


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("reader", [events_of, text_of])
async def test_a_caller_sees_the_same_by_either_way(
    monkeypatch: pytest.MonkeyPatch, reader: Reader, at_once: bool
) -> None:
    received = 0
    receive = Reception.receive

    def counted(self: Reception, event: ReceivedEvent, *given: Any, **more: Any) -> list[ServerEvent]:
        nonlocal received
        received += isinstance(event, OutputTextDelta)
        return receive(self, event, *given, **more)

    monkeypatch.setattr(Reception, "receive", counted)
    by_the_shortcut = await held(reader, at_once=at_once)
    deltas = sum(event["type"] == DELTA for events in conversation() for event in events)
    assert received < deltas, "some were not received the long way"
    received = 0
    monkeypatch.setattr(Inbox, "deliver_delta", Inbox.deliver)
    assert await held(reader, at_once=at_once) == by_the_shortcut
    assert received == deltas
