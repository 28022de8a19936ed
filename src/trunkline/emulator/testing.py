"""Assertions about effective contexts, with readable differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import unified_diff
from typing import Any

Item = Mapping[str, Any]

_ASIDE = frozenset(("id", "status", "annotations", "logprobs", "phase", "prompt_cache_breakpoint"))
_SERVER_ONLY = frozenset(("reasoning", "compaction"))


def normalised(items: Iterable[Item], *, reasoning: bool = False) -> list[dict[str, Any]]:
    """Return items without the fields that do not change their meaning.

    A string becomes one text part. Ids, statuses, annotations and similar fields are removed. A missing
    type is added. Reasoning and compaction items are removed unless `reasoning` is true.
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
    """Assert that an effective context equals the application's history.

    Args:
        seen: `ResponseRecord.effective_context`.
        expected: the application's items, including its last input.
        reasoning: whether to compare reasoning and compaction items, which applications often do not keep.

    Raises:
        AssertionError: they differ; the message has a line-by-line difference.
    """
    one, other = normalised(expected, reasoning=reasoning), normalised(seen, reasoning=reasoning)
    if one != other:
        difference = unified_diff(
            _lines(one), _lines(other), "expected", "seen by the model", lineterm="", n=2
        )
        raise AssertionError(
            "the effective context differs from the expected items:\n" + "\n".join(difference)
        )


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
