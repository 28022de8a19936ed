"""A list of items that names each of its beginnings, so that a turn need not look at old items.

Each position has a *mark*: a hash of everything before it, made by chaining the identities of the items.
Two histories have equal beginnings exactly when their marks there are equal, which costs one comparison
however long they are. Consecutive assistant texts are marked by their joined text, because applications
join them and the meaning does not change.

A `History` is an immutable value. Extending the newest version of a shared log appends in place, as long
as nobody else has extended it; every other extension copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from .items import JSON, Item

_SEED = b"\0" * 32


class _Log:
    """What versions of a history share. ``marks[i]`` names the first ``i`` items."""

    __slots__ = ("items", "marks")

    def __init__(self, items: list[Item], marks: list[bytes]) -> None:
        self.items = items
        self.marks = marks


class History:
    """An immutable sequence of items with a mark for each of its beginnings."""

    __slots__ = ("_length", "_log", "_open", "_orphans")

    def __init__(self) -> None:
        self._log = _Log([], [_SEED])
        self._length = 0
        self._open: frozenset[str] = frozenset()
        self._orphans: frozenset[str] = frozenset()

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
        """The mark of all of it."""
        return self._log.marks[self._length]

    @property
    def open_calls(self) -> frozenset[str]:
        """The ids of calls that have no output yet."""
        return self._open

    @property
    def orphan_outputs(self) -> frozenset[str]:
        """The ids that outputs answer and no call has."""
        return self._orphans

    def items(self, start: int = 0, stop: int | None = None) -> list[Item]:
        """The items from one position to another, as a new list."""
        stop = self._length if stop is None else min(stop, self._length)
        return self._log.items[start:stop]

    def json(self) -> list[JSON]:
        """All items as plain JSON, decoded anew."""
        return [item.json() for item in self]

    def extended(self, items: Sequence[Item]) -> History:
        """This history and these items after it. Costs what is new."""
        if not items:
            return self
        log = self._log
        if len(log.items) != self._length:  # somebody went on from here before: that version keeps its log
            log = _Log(log.items[: self._length], log.marks[: self._length + 1])
        for item in items:
            log.items.append(item)
            log.marks.append(_next_mark(log))
        longer = History()
        longer._log = log
        longer._length = len(log.items)
        longer._open, longer._orphans = _calls_after(self._open, self._orphans, items)
        return longer

    def prefix(self, length: int) -> History:
        """The first ``length`` items."""
        if length >= self._length:
            return self
        shorter = History()
        shorter._log = self._log
        shorter._length = length
        shorter._open, shorter._orphans = _calls_after(frozenset(), frozenset(), self._log.items[:length])
        return shorter

    def position_of(self, mark: bytes, near: int) -> int | None:
        """Where the items before a position have this mark; ``near`` is looked at first."""
        marks = self._log.marks
        if near <= self._length and marks[near] == mark:
            return near
        try:
            return marks.index(mark, 0, self._length + 1)
        except ValueError:
            return None

    def following(self, values: Sequence[Any], where: str = "input") -> History:
        """The history that a caller gives whole, sharing with this one all that did not change.

        One cheap pass compares each given object with what was given before, so that edits in place are
        seen; only what is new is checked, encoded and hashed.

        Raises:
            ConfigurationError: as `Item.of`.
        """
        known = self._log.items
        same = 0
        for value, item in zip(values, known[: self._length], strict=False):
            if not item.is_unchanged(value):
                break
            same += 1
        new = [
            Item.of(values[index], f"{where}[{index}]", watched=True) for index in range(same, len(values))
        ]
        return self.prefix(same).extended(new)


def _next_mark(log: _Log) -> bytes:
    """The mark after the last item of the log."""
    item = log.items[-1]
    if item.joinable_text is None:
        return blake2b(item.identity, digest_size=32, salt=b"item", key=log.marks[-1]).digest()
    start = len(log.items) - 1
    while start and log.items[start - 1].joinable_text is not None:
        start -= 1
    joined = blake2b(digest_size=32, salt=b"text", key=log.marks[start])
    for part in log.items[start:]:
        joined.update((part.joinable_text or "").encode("utf-8", "surrogatepass"))
    return joined.digest()


def _calls_after(
    open_calls: frozenset[str], orphans: frozenset[str], items: Sequence[Item]
) -> tuple[frozenset[str], frozenset[str]]:
    calls, outputs = set(open_calls), set(orphans)
    for item in items:
        call_id = item.call_id
        if call_id is None:
            continue
        expected, missing = (outputs, calls) if item.is_call else (calls, outputs)
        if call_id in expected:
            expected.discard(call_id)
        else:
            missing.add(call_id)
    return frozenset(calls), frozenset(outputs)
