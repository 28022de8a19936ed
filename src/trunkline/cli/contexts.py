"""Comparison of two histories for the demo; it shares no code with the client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any


def difference(held: Sequence[dict[str, Any]], seen: Sequence[dict[str, Any]]) -> str | None:
    """Describe the first difference between the application's items and the model's, or return None."""
    for index, (mine, theirs) in enumerate(zip_longest(map(_meaning, held), map(_meaning, seen))):
        if mine != theirs:
            return f"item {index} is {_shown(mine)} here and {_shown(theirs)} there"
    return None


def _meaning(item: dict[str, Any]) -> tuple[Any, ...]:
    """The meaning of an item, without fields that servers add."""
    kind = item.get("type", "message")
    if kind == "message":
        return kind, item["role"], _text(item["content"])
    if kind == "function_call":
        return kind, item["call_id"], item["name"], json.loads(item["arguments"])
    if kind == "function_call_output":
        return kind, item["call_id"], _text(item["output"])
    return kind, json.dumps(item, sort_keys=True)


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def _shown(meaning: tuple[Any, ...] | None) -> str:
    return "missing" if meaning is None else " ".join(str(part) for part in meaning)
