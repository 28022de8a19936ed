"""Open output items, and whether all of them may be silent for long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._protocol.decoding import decode
from trunkline._protocol.open_items import OpenItems, are_slow, calls_in, without_item


def after(*steps: tuple[str, str, int | None]) -> OpenItems:
    items: OpenItems = ()
    for step, kind, index in steps:
        data = {
            "type": f"response.output_item.{step}",
            "item": {"type": kind, "summary": []},
            "output_index": index,
        }
        event: Any = decode(json.dumps(data).encode())
        items = (*items, event) if step == "added" else without_item(items, event)
    return items


@pytest.mark.parametrize("kind", ["reasoning", "web_search_call", "mcp_call", "compaction", "of_tomorrow"])
@pytest.mark.parametrize("index", [0, None])
def test_reasoning_and_hosted_tools_are_slow_until_they_are_done(kind: str, index: int | None) -> None:
    assert are_slow(after(("added", kind, index)))
    assert not are_slow(after(("added", kind, index), ("done", kind, index)))


@pytest.mark.parametrize("kind", ["message", "function_call", "custom_tool_call"])
def test_what_the_model_writes_is_not_slow(kind: str) -> None:
    assert not are_slow(after(("added", kind, 0)))
    assert not are_slow(after(("added", "reasoning", 0), ("added", kind, 1)))
    assert are_slow(after(("added", "reasoning", 0), ("added", kind, 1), ("done", kind, 1)))


def test_nothing_open_is_not_slow() -> None:
    assert not are_slow(())
    assert not are_slow(after(("done", "reasoning", 0)))


def call_events(*rows: dict[str, Any]) -> tuple[OpenItems, list[Any]]:
    events: list[Any] = [decode(json.dumps(row).encode()) for row in rows]
    items = tuple(each for each in events if each.wire_type == "response.output_item.added")
    return items, [each for each in events if each not in items]


def added(index: int | None, **item: Any) -> dict[str, Any]:
    return {
        "type": "response.output_item.added",
        "output_index": index,
        "item": {"type": "function_call", "name": "f", **item},
    }


def part(text: str, kind: str = "function_call_arguments.delta", **at: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "delta": text, "arguments": text, **at}


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [
        ([added(0), part('{"a"', output_index=0), part(":1}", output_index=0)], ['{"a":1}']),
        ([added(0), part("{", output_index=0), part("{}", "function_call_arguments.done")], ["{}"]),
        ([added(0, id="x"), part("1", item_id="x"), added(1, id="y"), part("2", item_id="y")], ["1", "2"]),
        ([added(0), part("1", output_index=0), added(1), part("2", output_index=1)], ["1", "2"]),
        ([added(None), part("{}")], ["{}"]),
        ([added(None, arguments='{"b":2}')], ['{"b":2}']),
        ([added(0)], ["{}"]),
        ([added(0), part('{"cut', output_index=0)], []),
        ([added(0, type="message")], []),
        ([added(0, arguments={"b": 2})], [{"b": 2}]),
    ],
)
def test_calls_that_only_begin_are_put_together(rows: list[dict[str, Any]], arguments: list[Any]) -> None:
    assert [call["arguments"] for call in calls_in(*call_events(*rows))] == arguments


@pytest.mark.parametrize(
    "rows",
    [
        [part("let's go", "custom_tool_call_input.delta", output_index=0)],
        [part("", "custom_tool_call_input.done", input="let's go", output_index=0)],
        [
            part("let's", "custom_tool_call_input.delta", output_index=0),
            part("", "custom_tool_call_input.done", input="let's go", output_index=0),
        ],
    ],
)
def test_the_input_of_a_custom_tool_is_any_text(rows: list[dict[str, Any]]) -> None:
    items, parts = call_events(added(0, type="custom_tool_call", arguments=None), *rows)
    [call] = calls_in(items, parts)
    assert (call["input"], call["status"]) == ("let's go", "completed")


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ({"type": "reasoning", "id": "r"}, ["f", "g"]),
        ({"type": "function_call", "id": "f"}, ["r", "g"]),
        ({"type": "function_call"}, ["r"]),
        ({"type": "reasoning", "id": "other"}, ["r", "f", "g"]),
    ],
)
def test_an_item_without_an_index_is_told_by_its_id_or_its_type(
    done: dict[str, Any], left: list[str]
) -> None:
    rows = [added(None, type="reasoning", id="r"), added(None, id="f"), added(None, id="g")]
    items, _ = call_events(*rows, added(4, id="h"))
    event: Any = decode(json.dumps({"type": "response.output_item.done", "item": done}).encode())
    assert [item.item["id"] for item in without_item(items, event)] == [*left, "h"]
