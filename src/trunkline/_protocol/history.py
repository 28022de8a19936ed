"""Item lists whose prefixes are compared in constant time.

Each position has a *mark*: a hash of all items before it, chained from their identities. Prefixes of two
histories are equal if and only if their marks are, so that the cost of a turn does not grow with its
history. Consecutive assistant texts are hashed as one joined text, because applications join them.

A `History` is an immutable view of a log that several versions share. Extending the newest version appends
to the log; extending an older version copies it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

from .items import Item, count_unchanged
from .json import JSON

_SEED = b"\0" * 32


_NO_IDS: Final[frozenset[str]] = frozenset()
"""Shared, because each history has two such sets and few have calls."""


class _Log:
    """Items and marks shared by versions of a history.

    Attributes:
        items: the items.
        marks: ``marks[i]`` is the mark of the first ``i`` items.
        _texts: the hash of the assistant texts at the end; ``None`` if the last item is not such a text.
    """

    __slots__ = ("_texts", "items", "marks")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.marks: list[bytes] = [_SEED]
        self._texts: blake2b | None = None

    def beginning(self, length: int) -> _Log:
        """A new log with the first ``length`` items."""
        log = _Log()
        # The hash of the texts at the end cannot be taken from this log, which may have continued it.
        start = length
        while start and self.items[start - 1].joinable_text is not None:
            start -= 1
        log.items = self.items[:start]
        log.marks = self.marks[: start + 1]
        for item in self.items[start:length]:
            log.append(item)
        return log

    def append(self, item: Item) -> None:
        """Add an item and the mark after it."""
        if item.joinable_text is None:
            self._texts = None
            mark = blake2b(item.identity, digest_size=32, salt=b"item", key=self.marks[-1]).digest()
        else:
            if self._texts is None:
                self._texts = blake2b(digest_size=32, salt=b"text", key=self.marks[-1])
            self._texts.update(item.joinable_text.encode("utf-8", "surrogatepass"))
            mark = self._texts.digest()
        self.items.append(item)
        self.marks.append(mark)


class History:
    """An immutable sequence of items with a mark for each prefix.

    Attributes:
        size_bytes: the size of the encoded items, each with a comma.
    """

    __slots__ = ("_length", "_log", "_open", "_orphans", "size_bytes")

    def __init__(self) -> None:
        self._log = _Log()
        self._length = 0
        self.size_bytes: int = 0
        self._open: frozenset[str] = _NO_IDS
        self._orphans: frozenset[str] = _NO_IDS

    @classmethod
    def of(cls, items: Sequence[Item]) -> History:
        """A history of these items."""
        return cls().extended(items)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items())

    @property
    def mark(self) -> bytes:
        """The mark of all items."""
        return self._log.marks[self._length]

    @property
    def open_calls(self) -> frozenset[str]:
        """The ids of calls without an output."""
        return self._open

    @property
    def orphan_outputs(self) -> frozenset[str]:
        """The call ids of outputs without a call."""
        return self._orphans

    def items(self, start: int = 0, stop: int | None = None) -> list[Item]:
        """The items from ``start`` to ``stop``, as a new list."""
        stop = self._length if stop is None else min(stop, self._length)
        return self._log.items[start:stop]

    def json(self, start: int = 0) -> list[JSON]:
        """New copies of the items from ``start`` on, as plain JSON."""
        return [item.json() for item in self.items(start)]

    def extended(self, items: Sequence[Item]) -> History:
        """This history followed by these items.

        The cost depends on the new items only, except when an older version is extended.
        """
        if not items:
            return self
        log = self._log
        # The log holds more items than this version: it belongs to a longer version, so this one copies it.
        if len(log.items) != self._length:
            log = log.beginning(self._length)
        for item in items:
            log.append(item)
        longer = History()
        longer._log = log
        longer._length = len(log.items)
        longer.size_bytes = self.size_bytes + sum(len(item.encoded) + 1 for item in items)
        longer._open, longer._orphans = _calls_after(self._open, self._orphans, items)
        return longer

    def prefix(self, length: int) -> History:
        """The first ``length`` items."""
        if length >= self._length:
            return self
        shorter = History()
        shorter._log = self._log
        shorter._length = length
        shorter.size_bytes = sum(len(item.encoded) + 1 for item in self._log.items[:length])
        shorter._open, shorter._orphans = _calls_after(_NO_IDS, _NO_IDS, self._log.items[:length])
        return shorter

    def mark_of(self, length: int) -> bytes:
        """The mark of the first ``length`` items."""
        return self._log.marks[length]

    def position_of(self, mark: bytes, near: int) -> int | None:
        """The position with this mark; ``None`` if no prefix has it.

        Args:
            mark: the mark.
            near: the position to check first. It is also the result if several positions have the mark.
        """
        marks = self._log.marks
        if near <= self._length and marks[near] == mark:
            return near
        try:
            return marks.index(mark, 0, self._length + 1)
        except ValueError:
            return None

    def following(self, values: Sequence[Any], where: str = "input", *, lead: int = 0) -> History:
        """The history of a list that a caller gives as a whole.

        Unchanged items are shared with this history. One comparison per item detects changes in place; only
        new and changed items are checked and encoded, and items from the first change on are hashed.

        Args:
            values: all items, as plain JSON.
            where: the name of the list in error messages.
            lead: the number of items at the beginning of this history that stay, and stand before ``values``.

        Raises:
            ConfigurationError: an item is invalid; the message names its position.
        """
        known = self.items(lead)
        same = count_unchanged(known, values)
        changed = []
        for index in range(same, len(values)):
            value = values[index]
            if same < index < len(known) and known[index].is_unchanged(value):
                changed.append(known[index])
            else:
                changed.append(Item.of(value, f"{where}[{index}]", watched=True))
        return self.prefix(lead + same).extended(changed)


def _calls_after(
    open_calls: frozenset[str], orphans: frozenset[str], items: Sequence[Item]
) -> tuple[frozenset[str], frozenset[str]]:
    """Open calls and orphan outputs after more items: each call matches one output, in either order."""
    calls: set[str] | None = None
    outputs: set[str] = set()
    for item in items:
        call_id = item.call_id
        if call_id is None:
            continue
        if calls is None:
            calls, outputs = set(open_calls), set(orphans)
        expected, missing = (outputs, calls) if item.is_call else (calls, outputs)
        if call_id in expected:
            expected.discard(call_id)
        else:
            missing.add(call_id)
    if calls is None:
        return open_calls, orphans
    return frozenset(calls), frozenset(outputs)
