"""Contexts: the items that a model sees, as a chain that shares its prefix."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from .._protocol.errors import call_missing, output_missing
from .._protocol.items import type_of

Item = dict[str, Any]

_ANSWERED_BY = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "local_shell_call": "local_shell_call_output",
}
_OUTPUTS = frozenset(_ANSWERED_BY.values())
_MEDIA_TOKENS = 765
_encode = msgspec.json.Encoder().encode


def tokens_of(item: Item) -> int:
    """An estimate of an item's tokens: four characters each, a fixed price for images and files."""
    return (len(_encode(item)) - _media_bytes(item)) // 4 + 3


def _media_bytes(item: Item) -> int:
    """The size of data URLs beyond the fixed price of an image."""
    parts = item.get("content") or item.get("output")
    if not isinstance(parts, list):
        return 0
    data = [
        str(part.get("image_url") or part.get("file_data") or "") for part in parts if isinstance(part, dict)
    ]
    return sum(max(len(one) - 4 * _MEDIA_TOKENS, 0) for one in data)


def call_id_of(item: Item) -> str:
    """The id that links a call and its output; local shell outputs have it as their own id."""
    return str(item["call_id"] if "call_id" in item else item.get("id"))


class Context:
    """Immutable sequence of items. `extended` returns a longer one that shares this one as prefix.

    Attributes:
        open_calls: tool calls without an output so far, by ``call_id``.
        tokens: the estimated tokens of all items.
        added_tools: the tools that ``additional_tools`` items add to those of the requests.
        text_format: the format that the last ``configuration_update`` with a format sets, or None.
    """

    __slots__ = ("_items", "_parent", "added_tools", "length", "open_calls", "text_format", "tokens")

    def __init__(self, parent: Context | None = None, items: tuple[Item, ...] = ()) -> None:
        self._parent = parent
        self._items = items
        self.length: int = (parent.length if parent else 0) + len(items)
        self.tokens: int = (parent.tokens if parent else 0) + sum(map(tokens_of, items))
        self.open_calls: Mapping[str, Item] = _open_calls(parent.open_calls if parent else {}, items)
        self.added_tools: tuple[dict[str, Any], ...] = parent.added_tools if parent else ()
        self.text_format: dict[str, Any] | None = parent.text_format if parent else None
        for item in items:
            kind = item.get("type")
            if kind == "additional_tools":
                self.added_tools = (*self.added_tools, *item["tools"])
            elif kind == "configuration_update":
                self.text_format = (item.get("text") or {}).get("format") or self.text_format

    def extended(self, items: list[Item]) -> Context:
        """Return this context with more items appended.

        Raises:
            ApiError: a tool output among them matches no open call.
        """
        return Context(self, tuple(items)) if items else self

    def items(self) -> list[Item]:
        """All items, oldest first."""
        blocks: list[tuple[Item, ...]] = []
        node: Context | None = self
        while node is not None:
            blocks.append(node._items)
            node = node._parent
        return [item for block in reversed(blocks) for item in block]

    def newest_first(self) -> Iterator[Item]:
        """Iterate over all items, newest first, without building a list."""
        node: Context | None = self
        while node is not None:
            yield from reversed(node._items)
            node = node._parent

    def begins_with(self, other: Context) -> bool:
        """Whether `other` is, by identity, a prefix of this chain."""
        node: Context | None = self
        while node is not None and node.length >= other.length:
            if node is other:
                return True
            node = node._parent
        return False

    def require_answers(self, async_tools: Collection[str] = ()) -> None:
        """Refuse a context with an open tool call, unless its tool is async.

        Args:
            async_tools: the names of tools whose calls may stay open.

        Raises:
            ApiError: names the first open call.
        """
        for call_id, call in self.open_calls.items():
            if call.get("async") is not True and call.get("name") not in async_tools:
                raise output_missing(call_id)


def _open_calls(before: Mapping[str, Item], items: tuple[Item, ...]) -> Mapping[str, Item]:
    calls: dict[str, Item] | None = None
    for item in items:
        name = type_of(item)
        if name in _ANSWERED_BY and _is_owed(item):
            calls = dict(before) if calls is None else calls
            calls[call_id_of(item)] = item
        elif name in _OUTPUTS:
            calls = dict(before) if calls is None else calls
            if not _names_its_call(item):
                _answer_by_function(calls, item)
                continue
            call = calls.pop(call_id_of(item), None)
            if call is None or _ANSWERED_BY[call["type"]] != name:
                raise call_missing(call_id_of(item))
    return before if calls is None else calls


def _names_its_call(output: Item) -> bool:
    """Whether an output has the id of its call; otherwise its function identifies the call."""
    return output["type"] != "function_call_output" or output.get("call_id") is not None


def _answer_by_function(calls: dict[str, Item], output: Item) -> None:
    """Remove the oldest call that an output without a ``call_id`` may answer, if there is one."""
    function = _function_of(output)
    for call_id, call in calls.items():
        if call["type"] == "function_call" and _function_of(call) == function:
            del calls[call_id]
            return


def _function_of(item: Item) -> tuple[object, ...]:
    """What a call has in common with an output without a ``call_id``."""
    return item.get("name"), item.get("namespace"), item.get("caller") or {"type": "direct"}


def _is_owed(call: Item) -> bool:
    """Whether a call needs an output: not if it is incomplete, nor if the service ran it in a container."""
    if call.get("status") == "incomplete":
        return False
    environment = call.get("environment") or {}
    return call["type"] != "shell_call" or environment.get("type") != "container_reference"


def common_tokens(older: Context, newer: Context) -> int:
    """The tokens of the longest common prefix of two contexts."""
    if newer.begins_with(older):
        return older.tokens
    tokens = 0
    for one, other in zip(older.items(), newer.items(), strict=False):
        if one is not other and one != other:
            break
        tokens += tokens_of(one)
    return tokens
