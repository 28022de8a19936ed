"""The checks of received events find what is missing, doubled, foreign or at the wrong place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trunkline.emulator import Emulator

from .received import Received, WrongEventsError, check_final
from .talk import JSON, plain

Change = Callable[[list[JSON]], list[JSON]]


@pytest.fixture
async def events(emulator: Emulator) -> list[JSON]:
    async with plain(emulator) as client:
        stream = await client.responses.create(model="echo", input="one two three", stream=True)
        return [event.to_dict() async for event in stream]


def note(events: list[JSON]) -> Received:
    received = Received()
    for event in events:
        received.note(event)
    return received


def numbered(events: list[JSON]) -> list[JSON]:
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


async def test_a_whole_answer_passes(emulator: Emulator, events: list[JSON]) -> None:
    [record] = emulator.responses.values()
    note(events).check(record)
    unnumbered = [event if at % 3 else {**event, "sequence_number": None} for at, event in enumerate(events)]
    note(unnumbered).check(record)
    note([*events[:-2], events[-1]]).check(record)  # one that changed places with the end


CHANGES: dict[str, tuple[Change, str]] = {
    "twice": (lambda events: [*events[:5], events[4]], "twice"),
    "swapped": (lambda events: [*events[:4], events[5], events[4]], "5 came, and 4 is missing"),
    "late": (lambda events: [*events[:6], events[3]], "3 came after 5"),
    "missing": (lambda events: [*events[:4], *events[5:]], "4 is missing"),
    "a lost end of the text": (lambda events: [*events[:5], events[-1]], "is missing"),
    "created twice": (lambda events: numbered([events[0], *events]), "response.created came twice"),
    "not created": (lambda events: events[1:], "missing"),
    "of another response": (
        lambda events: [events[0], {**events[1], "response": {"id": "resp_x"}}],
        "of another response",
    ),
    "another text": (lambda events: numbered([*events[:4], *events[5:]]), "the deltas are"),
    "after the end": (lambda events: [*events, events[-2]], "after the end"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
async def test_a_change_is_found(events: list[JSON], change: Change, words: str) -> None:
    with pytest.raises(WrongEventsError, match=words):
        note(change(events))


@pytest.mark.parametrize("name", ["status", "output", "usage", "model"])
async def test_another_final_response_is_found(emulator: Emulator, events: list[JSON], name: str) -> None:
    [record] = emulator.responses.values()
    with pytest.raises(WrongEventsError, match=name):
        check_final({**events[-1]["response"], name: []}, record)


async def test_text_that_no_delta_had_is_found(emulator: Emulator, events: list[JSON]) -> None:
    [record] = emulator.responses.values()
    kept = [event for event in events if event["type"] != "response.output_text.done"]
    short = numbered([event for event in kept if event.get("delta") != " two"])
    with pytest.raises(WrongEventsError, match="the answer"):
        note(short).check(record)
