"""Output items that have begun and are not done, of one response.

Pure. While only reasoning and hosted tools are open, a model may be silent for minutes, so that another time
limit applies.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from .events import OutputItemAdded, OutputItemDone
from .quiet import QuietStruct

OpenItems: TypeAlias = tuple[OutputItemAdded, ...]
"""The events that began them. A tuple, because most responses have at most one open item."""

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
    """The open items after an item is done. Servers without indices have one open item at a time."""
    index = event.output_index
    if len(items) == 1 and items[0].output_index == index:
        return ()
    return tuple([item for item in items if item.output_index != index])


def are_slow(items: OpenItems) -> bool:
    """Whether something is open, and only reasoning, compaction and hosted tools."""
    return bool(items) and all(_decode_head(item.encoded_item).type not in _WRITTEN for item in items)


__all__ = ["OpenItems", "are_slow", "without_item"]
