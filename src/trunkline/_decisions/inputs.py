"""Requests that begin with the bytes of an earlier one, so that only their new items are decoded.

A caller that keeps a history sends it again with each request. `Inputs` remembers the bytes of the latest
requests up to their last item. If a new request begins with them, the items up to there are those of the
earlier request, and the cost of reading it does not grow with its history.

Pure, and without regard to callers: equal bytes are equal items of any caller.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from .._protocol.history import History
from .._protocol.items import Item
from .._protocol.json import decode_strictly, encode
from .._protocol.quiet import QuietStruct

MAX_COMPARED: Final = 128
"""Earlier requests whose bytes are compared with those of a new one."""
_MAX_ENVELOPES: Final = 64
_SPACE: Final = b" \t\r\n"

_members_of: Final[Callable[[bytes], dict[str, Raw]]] = msgspec.json.Decoder(dict[str, Raw]).decode
_raw_items_of: Final[Callable[[bytes], list[Raw]]] = msgspec.json.Decoder(list[Raw]).decode


class Body(QuietStruct, frozen=True):
    """The body of a request.

    Attributes:
        envelope: the body without the items of its input: equal for requests with equal fields.
        members: the encoded values of all fields but the input.
        items: the items of the input.
    """

    envelope: bytes
    members: dict[str, bytes]
    items: History


class _Known:
    """An earlier request.

    Attributes:
        text: its body up to the end of its last item.
        start: the position after the bracket that opens the list.
        items: its items.
    """

    __slots__ = ("items", "start", "text")

    def __init__(self, text: bytes, start: int, items: History) -> None:
        self.text = text
        self.start = start
        self.items = items


class Inputs:
    """The latest requests of one service with one credential.

    Args:
        max_bytes: the bytes of their bodies above which the oldest are forgotten.
    """

    def __init__(self, max_bytes: int = 64 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._by_size: list[_Known] = []
        self._by_age: OrderedDict[int, _Known] = OrderedDict()
        self._envelopes: OrderedDict[bytes, dict[str, bytes]] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """The bytes of the remembered bodies."""
        return self._size_bytes

    def read(self, body: bytes) -> Body:
        """Read the body of a request.

        Raises:
            ValueError: the body is not a JSON object, an object in it has the same key twice, or its input
                is neither a string nor a list of items.
            RecursionError: the JSON is nested too deeply.
        """
        # 1. The same document without the items that are known.
        known, rest_at = self._beginning_of(body)
        before = body[: known.start] if known is not None else b""
        short = before + body[rest_at:]
        members = _members_of(short)
        given = bytes(members.pop("input", Raw(b"null")))
        # 2. A string is one message.
        if given[:1] == b'"':
            item = Item.received(b'{"type":"message","role":"user","content":%b}' % given)
            return Body(short, self._checked(short, members, given), History.of([item]))
        if given[:1] != b"[":
            raise ValueError("the input is neither a string nor a list")
        # 3. The position of the list. `_checked` finds out if another field has the same bytes.
        at = known.start - 1 if known is not None else short.find(given)
        end = at + len(given) - 1
        envelope = short[: at + 1] + short[end:]
        checked = self._checked(envelope, members, b"[]")
        # 4. The new items.
        items = known.items if known is not None else History()
        items = items.extended([Item.received(bytes(raw)) for raw in _raw_items_of(given)])
        if len(items):
            text = body[: end - len(before) + rest_at].rstrip(_SPACE)
            self._remember(_Known(text, at + 1, items), known)
        return Body(envelope, checked, items)

    def outline(self, body: bytes) -> bytes:
        """The body of a request without the items that it has from an earlier one. May be no JSON."""
        known, rest_at = self._beginning_of(body)
        return body if known is None else body[: known.start] + body[rest_at:]

    def _checked(self, envelope: bytes, members: dict[str, Raw], given: bytes) -> dict[str, bytes]:
        """The encoded values of all fields but the input, after a check that no key occurs twice."""
        found = self._envelopes.get(envelope)
        if found is None:
            source: Any = decode_strictly(envelope)
            if encode(source.pop("input", None)) != encode(decode_strictly(given)):
                raise ValueError("the input was not found")
            found = {name: bytes(value) for name, value in members.items()}
            self._envelopes[envelope] = found
            if len(self._envelopes) > _MAX_ENVELOPES:
                self._envelopes.popitem(last=False)
        else:
            self._envelopes.move_to_end(envelope)
        return found

    def _beginning_of(self, body: bytes) -> tuple[_Known | None, int]:
        """The longest remembered request with which a body begins, and the position of its next item."""
        last = bisect_right(self._by_size, len(body), key=_size_of)
        for known in reversed(self._by_size[max(0, last - MAX_COMPARED) : last]):
            if body.startswith(known.text):
                rest_at = _next_item(body, len(known.text))
                return (None, 0) if rest_at is None else (known, rest_at)
        return None, 0

    def _remember(self, new: _Known, extended: _Known | None) -> None:
        if extended is not None:  # its conversation continues from the new one
            self._forget(extended)
        insort(self._by_size, new, key=_size_of)
        self._by_age[id(new)] = new
        self._size_bytes += len(new.text)
        while self._size_bytes > self._max_bytes:
            self._forget(next(iter(self._by_age.values())))

    def _forget(self, known: _Known) -> None:
        del self._by_age[id(known)]
        index = bisect_left(self._by_size, len(known.text), key=_size_of)
        while self._by_size[index] is not known:
            index += 1
        del self._by_size[index]
        self._size_bytes -= len(known.text)


def _size_of(known: _Known) -> int:
    return len(known.text)


_find_next: Final = re.compile(rb"[ \t\r\n]*(?:,(?=[ \t\r\n]*\{)|(?=\]))").match


def _next_item(body: bytes, position: int) -> int | None:
    """The position after the comma before the next item, or of the end of the list.

    ``None`` if neither follows: then the item continues, or the body is not JSON.
    """
    found = _find_next(body, position)
    return found.end() if found is not None else None


__all__ = ["Body", "Inputs"]
