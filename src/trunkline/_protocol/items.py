"""Input and output items: plain JSON in the API, encoded once for the wire.

`Item.of` checks, copies and encodes an item given by a caller; later changes of the caller's object have no
effect on it. Equality compares the *identity* (see `identity`).

Items made by the service may have an id. The service looks it up, and refuses it if it did not store the
response. An item is *resendable* if a request can carry it without its id: messages and calls are, reasoning
is only with its encrypted content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import ConfigurationError
from .identity import CALLS, OUTPUTS, identity, joinable_text
from .item_types import ItemInput as ItemInput
from .item_types import TurnInput as TurnInput
from .json import JSON, copy_json, decode, decode_strictly, encode, root, settle

_SERVER_ONLY: Final = frozenset(
    {
        "reasoning",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
    }
)
_SEARCHES: Final = frozenset({"tool_search_call", "tool_search_output"})
_BLOCK: Final = 64
"""The number of items that `count_unchanged` compares at once."""
_UNEQUAL: Final = object()
_WITH_SERVER_IDS: Final = frozenset({"message", "reasoning", "compaction", *CALLS})


class Item:
    """One item, encoded once. Immutable by convention.

    Attributes:
        encoded: the item as JSON.
        identity: the hash that equality compares.
        kind: the ``type`` of the item; ``message`` if it has none.
        joinable_text: the text of an assistant message without other content; ``None`` for other items.
        call_id: the id of the call, for calls of the application's tools and their outputs; else ``None``.
        has_id: the item has an ``id`` field.
        is_server_only: applications need not keep the item: reasoning, or a call of a hosted tool.
        is_resendable: a request can carry the item without its id.
    """

    __slots__ = (
        "_has_numbers",
        "_portable",
        "_source",
        "call_id",
        "encoded",
        "has_id",
        "identity",
        "is_resendable",
        "is_server_only",
        "joinable_text",
        "kind",
    )

    encoded: bytes
    identity: bytes
    kind: str
    joinable_text: str | None
    call_id: str | None
    has_id: bool
    is_server_only: bool
    is_resendable: bool
    _source: JSON | None
    _has_numbers: bool
    _portable: bytes | None

    @classmethod
    def of(cls, value: object, where: str = "input", *, watched: bool = False) -> Item:
        """Check and encode an item given by a caller.

        Args:
            value: the item.
            where: its position in error messages, such as ``input[3]``.
            watched: keep the copy, for a fast `is_unchanged`. It shares its strings with ``value``.

        Raises:
            ConfigurationError: the item is not plain JSON, or has neither a ``type`` nor a ``role``.
        """
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{where}: an item must be a dict, not {type(value).__name__}", argument=root(where)
            )
        source, has_numbers = copy_json(value, where)
        kind = source.get("type")
        if not _is_named(kind) and (kind is not None or not _is_named(source.get("role"))):
            raise ConfigurationError(
                f"{where}: an item needs a type (such as 'function_call_output') or a role (such as 'user')",
                argument=root(where),
            )
        item = cls._made(*settle(source))
        if watched:
            item._source, item._has_numbers = source, has_numbers
        return item

    @classmethod
    def from_output(cls, encoded: bytes) -> Item:
        """An output item of a response, in the form in which a request can carry it.

        The ids of messages and calls are removed, because the service refuses ids that it did not store. The
        identity is that of the whole item.
        """
        source = decode(encoded)
        item = cls._made(source, encoded)
        if item._portable is None:
            del source["id"]
            item.encoded = item._portable = encode(source)
            item.has_id = False
        return item

    @classmethod
    def received(cls, encoded: bytes) -> Item:
        """An item of a request that is passed on: its bytes are the encoding. Only reasoning may be left out.

        Raises:
            ValueError: the bytes are not an item, or an object in it has the same key twice.
            RecursionError: the JSON is nested too deeply.
        """
        source = decode_strictly(encoded)
        if not isinstance(source, dict):
            raise ValueError("an item is an object")
        kind = source.get("type")
        if not _is_named(kind) and (kind is not None or not _is_named(source.get("role"))):
            raise ValueError("an item has a type or a role")
        item = cls._made(source, encoded)
        # The caller's own HTTP request would carry a call of a hosted tool, with its id, for the service to
        # accept or to refuse. Without it the model would see less than the caller holds.
        item.is_resendable = item.is_resendable or item.kind != "reasoning"
        return item

    @classmethod
    def _made(cls, source: JSON, encoded: bytes) -> Item:
        item = cls()
        item.encoded = encoded
        item.kind = kind = source["type"] if _is_named(source.get("type")) else "message"
        item.joinable_text = joinable_text(source) if kind == "message" else None
        item.identity = identity(kind, source)
        item.call_id = None
        if kind in CALLS or kind in OUTPUTS:
            call_id = source.get("call_id")
            if call_id is None and kind == "local_shell_call_output":
                call_id = source.get("id")  # this kind has the id of its call in ``id``
            if isinstance(call_id, str):
                item.call_id = call_id
        item.has_id = "id" in source
        item.is_server_only = kind in _SERVER_ONLY or (kind in _SEARCHES and item.call_id is None)
        item.is_resendable = not item.is_server_only or _is_named(source.get("encrypted_content"))
        item._source, item._has_numbers = None, True
        item._portable = None if item.has_id and kind in _WITH_SERVER_IDS else encoded
        return item

    @property
    def is_user_message(self) -> bool:
        """Whether the item is a user message. Decodes the item."""
        return self.kind == "message" and self.json().get("role") == "user"

    @property
    def portable(self) -> bytes:
        """The item as JSON without an id that the service would look up."""
        if self._portable is None:
            source = self.json()
            source.pop("id", None)
            self._portable = encode(source)
        return self._portable

    def is_unchanged(self, value: object) -> bool:
        """Whether a caller's object still has the JSON of this item. Detects changes in place."""
        try:
            if self._source is None:
                return encode(copy_json(value, "input")[0]) == self.encoded
            # Python: True == 1 == 1.0. JSON: all different, so items with numbers are compared as bytes too.
            return bool(self._source == value) and (not self._has_numbers or encode(value) == self.encoded)
        except (TypeError, ValueError, RecursionError):
            return False

    @property
    def is_call(self) -> bool:
        """Whether the item is a call of a tool that the application executes."""
        return self.call_id is not None and self.kind in CALLS

    @property
    def is_call_output(self) -> bool:
        """Whether the item is the output of such a call."""
        return self.call_id is not None and self.kind in OUTPUTS

    def json(self) -> JSON:
        """A new copy of the item as plain JSON."""
        value: JSON = json.loads(self.encoded)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return f"<Item {self.kind} {len(self.encoded)} bytes>"  # no content


def items_of(value: TurnInput, where: str = "input") -> list[Item]:
    """The items of an ``input`` argument: a string is one user message, a dict is one item.

    Raises:
        ConfigurationError: the input or an item is invalid; the message names the position.
    """
    if isinstance(value, str):
        return [Item.of({"type": "message", "role": "user", "content": value}, where)]
    if isinstance(value, Mapping):
        return [Item.of(value, where)]
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise ConfigurationError(
            f"{where} must be a string, an item or a list of items, not {type(value).__name__}",
            argument=root(where),
        )
    return [Item.of(item, f"{where}[{index}]") for index, item in enumerate(value)]


def assistant_message(text: str) -> Item:
    """An assistant message."""
    return Item.of({"type": "message", "role": "assistant", "content": text})


def user_message(text: str) -> JSON:
    """A user message, as plain JSON."""
    return {"type": "message", "role": "user", "content": text}


def function_call_output(call_id: str, output: str) -> Item:
    """The output of a function call."""
    return Item.of({"type": "function_call_output", "call_id": call_id, "output": output})


def count_unchanged(items: Sequence[Item], values: Sequence[object]) -> int:
    """The number of a caller's objects, from the first, that still have the JSON of these items.

    The same as `Item.is_unchanged` for each, in half the time: Python compares two lists of dicts without
    calls of Python functions.
    """
    end = min(len(items), len(values))
    for start in range(0, end, _BLOCK):
        stop = min(start + _BLOCK, end)
        block = items[start:stop]
        sources = [_UNEQUAL if item._has_numbers else item._source for item in block]
        try:
            if sources == list(values[start:stop]):
                continue
        except (TypeError, ValueError, RecursionError):
            pass  # one by one, to find the object that cannot be compared
        for index, item in enumerate(block, start):
            if not item.is_unchanged(values[index]):
                return index
    return end


def _is_named(value: object) -> bool:
    return isinstance(value, str) and value != ""
