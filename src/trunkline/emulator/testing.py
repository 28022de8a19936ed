"""Assertions about what the model saw, with differences that can be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import unified_diff
from typing import Any

Item = Mapping[str, Any]

_ASIDE = frozenset(("id", "status", "annotations", "logprobs", "phase", "prompt_cache_breakpoint"))
_SERVER_ONLY = frozenset(("reasoning", "compaction"))


def normalised(items: Iterable[Item], *, reasoning: bool = False) -> list[dict[str, Any]]:
    """Items without what does not change their meaning.

    A string becomes one text part; ids, statuses, annotations and the like go; a missing type is filled in;
    reasoning goes, unless it is asked for.
    """
    found = []
    for item in items:
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind in _SERVER_ONLY and not reasoning:
            continue
        meaning = {name: _stripped(value) for name, value in item.items() if name not in _ASIDE}
        if kind == "message":
            meaning["content"] = _parts(item)
        found.append({"type": kind} | meaning)
    return found


def assert_context(seen: Sequence[Item], expected: Sequence[Item], *, reasoning: bool = False) -> None:
    """Assert that an effective context is what the application holds.

    Args:
        seen: `ResponseRecord.effective_context`.
        expected: the application's items, its last input included.
        reasoning: whether reasoning and compaction items count, which applications often cannot hold.

    Raises:
        AssertionError: with a line-by-line difference.
    """
    one, other = normalised(expected, reasoning=reasoning), normalised(seen, reasoning=reasoning)
    if one != other:
        difference = unified_diff(
            _lines(one), _lines(other), "expected", "seen by the model", lineterm="", n=2
        )
        raise AssertionError("The model saw another context:\n" + "\n".join(difference))


def _parts(item: Item) -> Any:
    content = item.get("content")
    if not isinstance(content, str):
        return _stripped(content)
    return [{"type": "output_text" if item.get("role") == "assistant" else "input_text", "text": content}]


def _stripped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _stripped(part) for name, part in value.items() if name not in _ASIDE}
    if isinstance(value, list | tuple):
        return [_stripped(part) for part in value]
    return value


def _lines(items: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(item, sort_keys=True, ensure_ascii=False) for item in items]
