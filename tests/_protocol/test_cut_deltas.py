from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._protocol.cut_deltas import CutDelta, CutDeltas
from trunkline._protocol.decoding import decode
from trunkline._protocol.events import Delta, ReceivedEvent

TEXT = "response.output_text.delta"
ARGUMENTS = "response.function_call_arguments.delta"


def event(kind: str, **fields: Any) -> ReceivedEvent:
    return decode(json.dumps({"type": kind, **fields}).encode())


def delta(text: str, kind: str = TEXT, **fields: Any) -> ReceivedEvent:
    return event(kind, delta=text, **fields)


def passed(*events: ReceivedEvent) -> list[str]:
    """The texts of deltas and the types of other events, in the order in which they pass."""
    deltas = CutDeltas()
    found = [each for one in events for each in deltas.admit(one)] + deltas.release()
    assert deltas.release() == []
    assert not any(isinstance(each, CutDelta) for each in found)
    return [each.delta if isinstance(each, Delta) else each.wire_type for each in found]


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["a", "b"], ["a", "b"]),
        (["I \ud83d", "\ude00 x"], ["I \U0001f600", " x"]),
        (["\ud83d", "\ude00"], ["\U0001f600", ""]),
        (["\ud83d", "\ude00\ud83d", "\ude00!"], ["\U0001f600", "\U0001f600", "!"]),
        (["\ud83d", " so"], ["\ufffd", " so"]),
        (["\ud83d", "\ud83d", "\ude00"], ["\ufffd", "\U0001f600", ""]),
        (["\ude00 x"], ["\ufffd x"]),
        (["a \ud83d b"], ["a \ufffd b"]),
        (["\ud83d", "", "\ude00"], ["", "\U0001f600", ""]),
        (["cut \ud83d"], ["cut \ufffd"]),
    ],
)
@pytest.mark.parametrize("kind", [TEXT, ARGUMENTS, "response.refusal.delta"])
def test_halves_in_two_deltas_are_joined(kind: str, texts: list[str], whole: list[str]) -> None:
    deltas = [delta(text, kind, item_id="m", output_index=0, stream_id="l") for text in texts]
    assert passed(*deltas) == whole


def test_halves_of_different_parts_do_not_belong_together() -> None:
    first = delta("\ud83d", item_id="a", output_index=0, content_index=0)
    for other in (
        delta("\ude00", item_id="b", output_index=0, content_index=0),
        delta("\ude00", item_id="a", output_index=1, content_index=0),
        delta("\ude00", item_id="a", output_index=0, content_index=1),
        delta("\ude00", ARGUMENTS, item_id="a", output_index=0, content_index=0),
    ):
        assert passed(first, other) == ["\ufffd", "\ufffd"]


def test_events_without_output_between_two_halves_pass_and_change_nothing() -> None:
    heartbeat = event("response.heartbeat")
    steer = event("response.steer.accepted", steer={"id": "s"})
    assert passed(delta("\ud83d"), heartbeat, steer, delta("\ude00")) == [
        "response.heartbeat",
        "response.steer.accepted",
        "\U0001f600",
        "",
    ]


@pytest.mark.parametrize(
    ("between", "joins"),
    [
        (event("response.created", response={"id": "r"}), True),
        (event("response.in_progress", response={"id": "r"}), True),
        (event("response.output_item.added", item={"id": "a"}, output_index=0), True),
        (event("response.content_part.added", item_id="a", part={}), True),
        (event("response.output_item.done", item={"id": "b"}), True),
        (event("response.output_item.done", item={}, output_index=1), True),
        (event("response.output_text.done", text="x", item_id="a", content_index=1), True),
        (event("response.content_part.done", part={}, output_index=1), True),
        (event("response.output_item.done", item={"id": "a"}), False),
        (event("response.output_text.done", text="x", output_index=0), False),
        (event("response.output_text.done", text="x"), False),
        (decode(b'{"type":"response.output_text.done","text":"x","output_index":1,"later":1e999}'), False),
        (event("error", error={}), False),
    ],
)
def test_only_an_end_of_the_part_comes_between_two_halves(between: ReceivedEvent, joins: bool) -> None:
    at: dict[str, Any] = {"item_id": "a", "output_index": 0, "content_index": 0}
    found = passed(delta("\ud83d", **at), between, delta("\ude00", **at))
    whole = [between.wire_type, "\U0001f600", ""]
    assert found == (whole if joins else ["\ufffd", between.wire_type, "\ufffd"])


def test_the_next_output_or_the_end_releases_a_half() -> None:
    done = event("response.output_text.done", text="x")
    final = event("response.completed", response={"id": "r", "output": []})
    assert passed(delta("a \ud83d"), done) == ["a \ufffd", "response.output_text.done"]
    assert passed(delta("a \ud83d"), final) == ["a \ufffd", "response.completed"]


def test_an_event_keeps_its_type_its_frame_and_its_place() -> None:
    cut = delta("\ud83d", ARGUMENTS, item_id="f", sequence_number=7, stream_id="l")
    assert isinstance(cut, CutDelta)
    assert (cut.wire_type, cut.sequence_number, cut.stream_id, cut.is_delta) == (ARGUMENTS, 7, "l", True)
    deltas = CutDeltas()
    assert deltas.admit(cut) == []
    [whole] = deltas.release()
    assert (whole.type, whole.raw, whole.sequence_number, whole.stream_id) == (ARGUMENTS, cut.raw, 7, "l")
