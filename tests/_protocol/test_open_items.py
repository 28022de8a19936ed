"""Open output items, and whether all of them may be silent for long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._protocol.decoding import decode
from trunkline._protocol.open_items import OpenItems, are_slow, without_item


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
