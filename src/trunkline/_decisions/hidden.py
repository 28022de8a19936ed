"""Hidden items: those with a part that only the service has, such as the result of a hosted tool.

A response with such an item knows something that its visible items do not tell. Reasoning is no such item: it
was made from what callers have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .._protocol.items import Item

_SEARCHES: Final = frozenset({"tool_search_call", "tool_search_output"})
_HELD_BY_CALLERS: Final = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "custom_tool_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "mcp_approval_request",
        "compaction",
    }
)
"""Types of output items without such a part. Others, unknown ones too, have one."""


def is_hosted(item: Mapping[str, Any]) -> bool:
    """Whether an output item has a part that only the service has, as the calls of hosted tools do."""
    kind = item.get("type")
    is_answered_by_caller = kind in _SEARCHES and isinstance(item.get("call_id"), str)
    return kind not in _HELD_BY_CALLERS and not is_answered_by_caller


def needs_service(item: Item) -> bool:
    """Whether only the service can resolve the item. Reasoning can be left out."""
    return item.kind == "item_reference" or (item.is_server_only and item.kind != "reasoning")


def hosted_ids(context: Iterable[Item]) -> frozenset[str | None]:
    """The ids of the hosted items in an input."""
    hosted = (item.json() for item in context if item.is_server_only and item.has_id)
    return frozenset(name for item in hosted if (name := id_of(item)) is not None)


def id_of(item: Mapping[str, Any]) -> str | None:
    """The id of an item; ``None`` for none."""
    value = item.get("id")
    return value if isinstance(value, str) and value else None


__all__ = ["hosted_ids", "id_of", "is_hosted", "needs_service"]
