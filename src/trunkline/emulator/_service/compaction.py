"""Compaction of contexts into one item, and truncation to the context window."""

from __future__ import annotations

from typing import Any

from .._models.context import Context, Item, call_id_of, tokens_of
from .._protocol.errors import context_length_exceeded
from .._protocol.items import text_of, type_of
from .._protocol.request import CreateRequest
from .generation import seal
from .ids import Ids


def compaction_item(ids: Ids, items: list[Item]) -> Item:
    """Create the item that replaces a whole context; only the server can read it."""
    last = next((text_of(item) for item in reversed(items) if item.get("role") == "user"), "")
    sealed = seal(f"{len(items)} items, the last user message being: {last}")
    return {"id": ids.new("cmp"), "type": "compaction", "encrypted_content": sealed}


def compacted_window(ids: Ids, items: list[Item]) -> list[Item]:
    """The output of ``POST /v1/responses/compact``: all user messages, then one compaction item."""
    kept = [listed(ids, item) for item in items if item.get("role") == "user"]
    return [*kept, compaction_item(ids, items)]


def threshold(request: CreateRequest) -> int | None:
    """The number of tokens from which the request's context is compacted, or None."""
    for entry in request.body.get("context_management") or []:
        if entry["type"] == "compaction" and entry.get("compact_threshold"):
            return int(entry["compact_threshold"])
    return None


def fitted(context: Context, *, budget: int, truncation: str) -> Context:
    """Return the context, truncated to the model's window if necessary.

    Raises:
        ApiError: it does not fit and `truncation` is not ``"auto"``.
    """
    if context.tokens <= budget:
        return context
    if truncation != "auto":
        raise context_length_exceeded()
    items, tokens = context.items(), context.tokens
    dropped: set[str] = set()
    first = 0
    while tokens > budget and first < len(items) - 1:
        if "call_id" in items[first]:
            dropped.add(call_id_of(items[first]))
        tokens -= tokens_of(items[first])
        first += 1
    # Outputs of dropped calls are dropped too: an output without its call is invalid.
    return Context(None, tuple(item for item in items[first:] if item.get("call_id") not in dropped))


def listed(ids: Ids, item: Item) -> Item:
    """Return an input item as the service lists it: with an id, and message content as parts."""
    name = type_of(item)
    if name != "message":
        prefix = _PREFIXES.get(str(name), "item")
        complete: dict[str, Any] = {"status": "completed"} if name in _WITH_STATUS else {}
        return {"id": ids.new(prefix)} | complete | item
    content = item["content"]
    if isinstance(content, str):
        assistant = item["role"] == "assistant"
        kind = "output_text" if assistant else "input_text"
        extra: dict[str, Any] = {"annotations": [], "logprobs": []} if assistant else {}
        content = [{"type": kind, "text": content} | extra]
    content = [_PART_DEFAULTS.get(part["type"], {}) | part for part in content]
    message = {"id": ids.new("msg"), "type": "message", "status": "completed"}
    return message | item | {"content": content}


_WITH_STATUS = frozenset(
    (
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "computer_call_output",
    )
)
_PART_DEFAULTS: dict[str, dict[str, Any]] = {
    "input_image": {"detail": "auto"},
    "output_text": {"annotations": [], "logprobs": []},
}
_PREFIXES = {
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "cto",
    "reasoning": "rs",
    "compaction": "cmp",
}
