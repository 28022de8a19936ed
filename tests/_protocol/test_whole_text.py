from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from trunkline._protocol.decoding import decode
from trunkline._protocol.response import Response
from trunkline._protocol.whole_text import WholeTexts, text_left, told, with_text


def part(text: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def message(*texts: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [part(text) for text in texts], **more}


def response(*output: Any) -> Response:
    return msgspec.json.decode(msgspec.json.encode({"id": "r", "output": output}), type=Response)


def new_texts(*events: dict[str, Any]) -> list[str]:
    found = WholeTexts()
    return [found.new_text(decode(json.dumps(event).encode())) for event in events]


def text_done(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.done", "text": text, "output_index": index}


def part_done(inner: Any, index: Any = 0) -> dict[str, Any]:
    return {"type": "response.content_part.done", "part": inner, "output_index": index}


def item_done(item: dict[str, Any], index: int | None = None) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item, "output_index": index}


@pytest.mark.parametrize(
    ("events", "texts"),
    [
        ([text_done("a"), part_done(part("a")), item_done(message("a"))], ["a", "", ""]),
        ([part_done(part("a")), item_done(message("a", "b"))], ["a", "b"]),
        ([text_done("a"), text_done("a"), text_done("a", 1)], ["a", "", "a"]),
        ([item_done(message("a", id="m")), item_done(message("a", id="m"))], ["a", ""]),
        (
            [item_done(message("a"), 0), item_done(message("a"), 0), item_done(message("a"), 1)],
            ["a", "", "a"],
        ),
        (
            [text_done("a"), text_done("b", 1), item_done(message("a")), item_done(message("b"))],
            ["a", "b", "", ""],
        ),
        ([text_done("a"), item_done(message("other"))], ["a", ""]),
        ([item_done({"type": "function_call"}), part_done(None), part_done(part(5), [])], ["", "", ""]),
        ([{"type": "response.new.done", "item_id": "x", "text": "a"}], [""]),
    ],
)
def test_each_text_is_found_once(events: list[dict[str, Any]], texts: list[str]) -> None:
    assert new_texts(*events) == texts


def test_a_delta_that_was_made_here_has_a_frame_of_its_own() -> None:
    delta = told("é", "lane-0")
    assert (delta.delta, delta.stream_id, delta.sequence_number, delta.item_id) == ("é", "lane-0", None, None)
    assert delta.json() == {"type": "response.output_text.delta", "delta": "é"}


@pytest.mark.parametrize(
    ("received", "left"),
    [("", "one two"), ("one ", "two"), ("one two", ""), ("two", ""), ("one two three", "")],
)
def test_the_text_after_the_received_text_is_left(received: str, left: str) -> None:
    assert text_left(response(message("one "), message("two")).output_text, received) == left


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("output", "received", "filled"),
    [
        ([], "a", [("message", "a")]),
        ([message("a")], "a", [("message", "a")]),
        ([message("a")], "b", [("message", "a")]),
        ([message("a")], "a \n", [("message", "a")]),
        ([message("a")], "ab", [("message", "a"), ("message", "b")]),
        ([message()], "a", [("message", "a")]),
        ([{"type": "reasoning"}, CALL], "a", [("reasoning", ""), ("message", "a"), ("function_call", "")]),
    ],
)
def test_received_text_is_filled_in_once(
    output: list[Any], received: str, filled: list[tuple[str, str]]
) -> None:
    made = with_text(response(*output), received).output
    texts = ["".join(each["text"] for each in item.get("content", ())) for item in made]
    assert list(zip([item["type"] for item in made], texts, strict=True)) == filled
