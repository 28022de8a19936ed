from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import RefusalDelta
from trunkline._protocol.refusal_text import RefusalText, may_refuse, told_refusal
from trunkline._protocol.response import Response


def part(refusal: Any) -> dict[str, Any]:
    return {"type": "refusal", "refusal": refusal}


def message(*refusals: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [part(refusal) for refusal in refusals]}


def response(*output: Any) -> Response:
    return msgspec.json.decode(msgspec.json.encode({"id": "r", "output": output}), type=Response)


def refusal_done(text: Any, index: int = 0) -> dict[str, Any]:
    return {"type": "response.refusal.done", "refusal": text, "output_index": 0, "content_index": index}


def part_done(inner: Any, index: int = 0) -> dict[str, Any]:
    return {"type": "response.content_part.done", "part": inner, "output_index": 0, "content_index": index}


def item_done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


def received(*deltas: str) -> RefusalText:
    refusal = RefusalText()
    for delta in deltas:
        refusal.note(RefusalDelta(delta=delta))
    return refusal


@pytest.mark.parametrize(
    ("events", "texts"),
    [
        ([refusal_done("No."), part_done(part("No.")), item_done(message("No."))], ["No.", "", ""]),
        ([part_done(part("No.")), item_done(message("No.", " Never."))], ["No.", " Never."]),
        ([item_done(message("No.")), item_done(message("No."))], ["No.", ""]),
        ([refusal_done(None), refusal_done(5), part_done("x"), part_done(part(None))], ["", "", "", ""]),
        ([item_done({"type": "function_call"}), item_done({"type": "message", "content": "x"})], ["", ""]),
        ([part_done({"type": "output_text", "text": "a"})], [""]),
        ([{"type": "response.new.done", "item_id": "x", "refusal": "No."}], [""]),
        ([{"type": "response.output_text.done", "text": "No."}], [""]),
        ([refusal_done("No."), refusal_done("No.", 1), refusal_done("Never.", 2)], ["No.", "No.", "Never."]),
        ([part_done(part("No.")), part_done(part("No.")), part_done(part("No."), 1)], ["No.", "", "No."]),
        (
            [item_done({**message("No"), "id": "a"}), item_done({**message("No way"), "id": "b"})],
            ["No", "No way"],
        ),
    ],
)
def test_each_refusal_is_found_once(events: list[dict[str, Any]], texts: list[str]) -> None:
    found = RefusalText()
    assert [found.new_text(decode(json.dumps(event).encode())) for event in events] == texts


def test_no_event_repeats_a_refusal_that_came_in_deltas() -> None:
    found = received("No", ".")
    assert found.new_text(decode(json.dumps(refusal_done("No.")).encode())) == ""
    assert found.left(response(message("No."))) == ""


@pytest.mark.parametrize(
    ("deltas", "output", "left"),
    [
        ([], [message("No.")], "No."),
        (["No"], [message("No.")], "."),
        (["No."], [message("No.")], ""),
        (["No."], [message("Yes.")], ""),
        (["No."], [], ""),
        ([], [message("No.", " Never."), message(" No!")], "No. Never. No!"),
    ],
)
def test_the_refusal_after_the_received_one_is_left(deltas: list[str], output: list[Any], left: str) -> None:
    assert received(*deltas).left(response(*output)) == left


@pytest.mark.parametrize(
    ("deltas", "output", "kept"),
    [
        ([], [], []),
        (["N", "o."], [], ["No."]),
        (["No."], [{"type": "message", "content": []}], ["No."]),
        (["No."], [message("No.")], ["No."]),
    ],
)
def test_a_received_refusal_is_kept_once(deltas: list[str], output: list[Any], kept: list[str]) -> None:
    made = received(*deltas).filled_in(response(*output)).output
    assert [each["refusal"] for item in made for each in item["content"]] == kept
    assert len(made) == len(kept)


def test_a_delta_that_was_made_here_has_a_frame_of_its_own() -> None:
    delta = told_refusal("No.", "lane-0")
    assert (delta.delta, delta.stream_id, delta.sequence_number) == ("No.", "lane-0", None)
    assert delta.json() == {"type": "response.refusal.delta", "delta": "No."}
    assert may_refuse(json.dumps(refusal_done("No.")).encode())
    assert not may_refuse(delta.raw)
