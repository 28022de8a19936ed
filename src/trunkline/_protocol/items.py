"""Input and output items: plain JSON outside, encoded once inside, equal by what makes them what they are.

An item enters through `Item.of`, which checks it, takes a private copy of its structure and encodes it.
From then on a frame is a join of bytes, and whatever the caller does to the original changes nothing.

An item that a service made may carry an id that the service looks up, and refuses when it stored nothing.
An item is *resendable* when it can be sent without: messages and calls are, reasoning is with its
encrypted content alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import ConfigurationError
from .identity import CALLS, OUTPUTS, identity, joinable_text
from .item_types import ItemInput as ItemInput
from .item_types import TurnInput as TurnInput
from .json import JSON, copy_json, decode, encode, root

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
_WITH_SERVER_IDS: Final = frozenset({"message", "reasoning", "compaction", *CALLS})


class Item:
    """One item, encoded once. Equal to another when their identities are; immutable by convention.

    Attributes:
        encoded: the item as it goes on the wire.
        identity: what equality compares: a hash of what makes the item what it is.
        kind: the item's ``type``; ``message`` when it has none.
        joinable_text: the text of an assistant message that is text alone; ``None`` for everything else.
        call_id: the call that this item makes or answers; ``None`` for everything else.
        has_id: it carries an id of its own.
        is_server_only: a kind that servers hold and applications need not: reasoning and hosted tool calls.
        is_resendable: a request can carry it without the server's memory.
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
        """Check and encode one item given by a caller.

        A ``watched`` item keeps the structure it was made of (not the strings, which are shared), so that
        `is_unchanged` is cheap.

        Raises:
            ConfigurationError: it is not plain JSON, or has neither a ``type`` nor a ``role``.
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
        item = cls._made(source, encode(source))
        if watched:
            # Python holds True == 1 == 1.0, JSON does not: an item with numbers is compared by its bytes too.
            item._source, item._has_numbers = source, has_numbers
        return item

    @classmethod
    def _made(cls, source: JSON, encoded: bytes) -> Item:
        item = cls()
        item.encoded = encoded
        item.kind = kind = source["type"] if _is_named(source.get("type")) else "message"
        item.joinable_text = joinable_text(source) if kind == "message" else None
        item.identity = identity(kind, source)
        item.call_id = _call_id(kind, source)
        item.has_id = "id" in source
        item.is_server_only = kind in _SERVER_ONLY or (kind in _SEARCHES and item.call_id is None)
        item.is_resendable = not item.is_server_only or _is_named(source.get("encrypted_content"))
        item._source, item._has_numbers = None, True
        item._portable = None if item.has_id and kind in _WITH_SERVER_IDS else encoded
        return item

    @property
    def is_user_message(self) -> bool:
        """Whether it is a message of the user. Decodes the item."""
        return self.kind == "message" and self.json().get("role") == "user"

    @classmethod
    def from_output(cls, encoded: bytes) -> Item:
        """An output item in the form in which it can be sent again.

        The ids that the service gave to messages and calls stay behind: the ids of items that were not
        stored are refused. The identity is that of the whole item.
        """
        source = decode(encoded)
        item = cls._made(source, encoded)
        if item._portable is None:
            del source["id"]
            item.encoded = item._portable = encode(source)
            item.has_id = False
        return item

    @property
    def portable(self) -> bytes:
        """The item as it goes to a service that stored nothing: without an id that it would look up."""
        if self._portable is None:
            source = self.json()
            source.pop("id", None)
            self._portable = encode(source)
        return self._portable

    def is_unchanged(self, value: object) -> bool:
        """Whether a caller's object still says exactly what this item was made of. Sees edits in place."""
        try:
            if self._source is None:
                return encode(copy_json(value, "input")[0]) == self.encoded
            return bool(self._source == value) and (not self._has_numbers or encode(value) == self.encoded)
        except (TypeError, ValueError, RecursionError):
            return False

    @property
    def is_call(self) -> bool:
        """A call of a tool that the application answers."""
        return self.call_id is not None and self.kind in CALLS

    @property
    def is_call_output(self) -> bool:
        """The output of such a call."""
        return self.call_id is not None and self.kind in OUTPUTS

    def json(self) -> JSON:
        """The item as plain JSON, decoded anew."""
        value: JSON = json.loads(self.encoded)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return f"<Item {self.kind} {len(self.encoded)} bytes>"  # never the content


def items_of(value: TurnInput, where: str = "input") -> list[Item]:
    """The items of an ``input`` argument: a string is one user message, a dict one item.

    Raises:
        ConfigurationError: as `Item.of`, naming the position.
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
    """What an assistant said, as an item to be sent."""
    return Item.of({"type": "message", "role": "assistant", "content": text})


def user_message(text: str) -> JSON:
    """What a user said, as plain JSON."""
    return {"type": "message", "role": "user", "content": text}


def function_call_output(call_id: str, output: str) -> Item:
    """What a function returned, as an item to be sent."""
    return Item.of({"type": "function_call_output", "call_id": call_id, "output": output})


def _is_named(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _call_id(kind: str, source: JSON) -> str | None:
    if kind not in CALLS and kind not in OUTPUTS:
        return None
    call_id = source.get("call_id")
    if call_id is None and kind == "local_shell_call_output":
        call_id = source.get("id")  # the one output that is typed to name its call so
    return call_id if isinstance(call_id, str) else None
