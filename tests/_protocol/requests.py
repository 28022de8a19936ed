"""Requests for tests of fields and frames, and their decoding by a server."""

from __future__ import annotations

import json
from typing import Any

from trunkline._protocol.fields import Fields
from trunkline._protocol.frames import frame
from trunkline._protocol.items import Item


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


WEATHER = {
    "type": "function",
    "name": "weather",
    "description": None,
    "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "default": None}}},
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "x"}


def items(*values: dict[str, Any]) -> list[Item]:
    return [Item.of(value) for value in values]


def sent(fields: Fields, *values: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """The request as a server decodes it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    made: dict[str, Any] = json.loads(frame(fields, items(*values), **envelope), object_pairs_hook=unique)
    return made
