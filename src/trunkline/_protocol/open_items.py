"""Output items that have begun and are not done, of one response.

Pure. While only reasoning and hosted tools are open, a model may be silent for minutes, so that another time
limit applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from .calls import CALLS_TO_ANSWER, is_call_to_answer
from .events import (
    CustomToolCallInputDelta,
    CustomToolCallInputDone,
    FunctionCallArgumentsDelta,
    FunctionCallArgumentsDone,
    OutputItemAdded,
    OutputItemDone,
)
from .json import JSON, decode
from .quiet import QuietStruct

OpenItems: TypeAlias = tuple[OutputItemAdded, ...]
"""The events that began them. A tuple, because most responses have at most one open item."""

CallPart: TypeAlias = (
    FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | CustomToolCallInputDelta
    | CustomToolCallInputDone
)

_WRITTEN: Final = frozenset(
    {
        "message",
        "function_call",
        "custom_tool_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "mcp_approval_request",
    }
)
"""Items that the model writes piece by piece."""


class _Head(QuietStruct, frozen=True):
    type: Any = None


_decode_head: Final = msgspec.json.Decoder(_Head).decode


def without_item(items: OpenItems, event: OutputItemDone) -> OpenItems:
    """The open items after an item is done."""
    index = event.output_index
    if index is None:
        done = event.item
        return tuple([item for item in items if not _is_item(item, done)])
    if len(items) == 1 and items[0].output_index == index:
        return ()
    return tuple([item for item in items if item.output_index != index])


def _is_item(added: OutputItemAdded, done: JSON) -> bool:
    """Whether an item that has begun is the one that is done, for servers without indices."""
    begun = added.item
    if added.output_index is not None or begun.get("type") != done.get("type"):
        return False
    names = (begun.get("id"), done.get("id"))
    return None in names or names[0] == names[1]


def are_slow(items: OpenItems) -> bool:
    """Whether something is open, and only reasoning, compaction and hosted tools."""
    return bool(items) and all(_decode_head(item.encoded_item).type not in _WRITTEN for item in items)


def calls_in(items: OpenItems, parts: Sequence[CallPart]) -> list[JSON]:
    """The calls among the items, put together from their parts, for a response that has completed.

    Some servers announce a call when it begins, send its arguments, and repeat neither. A call whose
    arguments are not JSON was cut off, and is left out.
    """
    calls = [item for item in items if is_call_to_answer(item.item)]
    return [call for each in calls if (call := _put_together(each, parts, alone=len(calls) == 1)) is not None]


def _put_together(added: OutputItemAdded, parts: Sequence[CallPart], *, alone: bool) -> JSON | None:
    item = added.item
    field = CALLS_TO_ANSWER[item["type"]]
    written = ""
    for part in parts:
        if not _is_part_of(part, added, alone=alone):
            continue
        if isinstance(part, FunctionCallArgumentsDone):
            written = part.arguments
        elif isinstance(part, CustomToolCallInputDone):
            written = part.input
        else:
            written += part.delta
    if not written and item.get(field):
        written = item[field]
    if field == "arguments" and isinstance(written, str):
        written = written or "{}"
        try:
            decode(written.encode())
        except (ValueError, RecursionError):
            return None
    return {**item, field: written, "status": "completed"}


def _is_part_of(part: CallPart, added: OutputItemAdded, *, alone: bool) -> bool:
    if part.output_index is not None and added.output_index is not None:
        return bool(part.output_index == added.output_index)
    name = added.item.get("id")
    if part.item_id is not None and name is not None:
        return bool(part.item_id == name)
    return alone


__all__ = ["CallPart", "OpenItems", "are_slow", "calls_in", "without_item"]
