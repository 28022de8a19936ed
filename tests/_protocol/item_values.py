"""Items for tests, as plain JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from trunkline._protocol.items import Item

from ..json_values import JSON_OBJECTS, JSON_VALUES


def message(role: str, *parts: Any) -> dict[str, Any]:
    content: Any = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)
    return {"type": "message", "role": role, "content": content}


def text(words: str, kind: str = "output_text", **more: Any) -> dict[str, Any]:
    return {"type": kind, "text": words, **more}


def output(item: dict[str, Any]) -> Item:
    return Item.from_output(json.dumps(item).encode())


CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}

ITEMS = st.builds(
    lambda fields, head: {**fields, "type": None, **head},
    JSON_OBJECTS,
    st.sampled_from(
        [
            {"type": "message", "role": "user"},
            {"role": "assistant"},
            {"type": "brand_new"},
            {"type": "reasoning"},
            {"type": "function_call"},
            {"type": "function_call_output"},
            {"type": "local_shell_call_output"},
            {"type": "tool_search_call"},
            {"type": "item_reference"},
        ]
    ),
)
CONTENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message"]), "role": st.just("assistant")}
).flatmap(lambda head: JSON_VALUES.map(lambda content: {**head, "content": content}))
