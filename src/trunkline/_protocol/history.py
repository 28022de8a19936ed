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

from .items import Item
from .json import JSON

_SEED = b"\0" * 32


class _Log:
    """What versions of a history share. ``marks[i]`` names the first ``i`` items.

    ``_texts`` is the hash of the assistant texts that the items end with; ``None`` when they end otherwise.
    """

    __slots__ = ("_texts", "items", "marks")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.marks: list[bytes] = [_SEED]
        self._texts: blake2b | None = None

    def beginning(self, length: int) -> _Log:
        """A log of its own with the first ``length`` items."""
        log = _Log()
        start = length
        while start and self.items[start - 1].joinable_text is not None:
            start -= 1
        log.items = self.items[:start]
        log.marks = self.marks[: start + 1]
        for item in self.items[start:length]:
            log.append(item)
        return log

    def append(self, item: Item) -> None:
        """One more item, and the mark after it."""
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
    """An immutable sequence of items with a mark for each of its beginnings.

    Attributes:
        size_bytes: what all of it takes on the wire, with the commas.
    """

    __slots__ = ("_length", "_log", "_open", "_orphans", "size_bytes")

    def __init__(self) -> None:
        self._log = _Log()
        self._length = 0
        self.size_bytes: int = 0
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

        One cheap pass compares each given object with what was given in its place before, so that edits in
        place are seen; only what is new is checked and encoded, and hashed from the first change on.

        Raises:
            ConfigurationError: as `Item.of`.
        """
        known = self.items()
        same = 0
        for value, item in zip(values, known, strict=False):
            if not item.is_unchanged(value):
                break
            same += 1
        changed = []
        for index in range(same, len(values)):
            value = values[index]
            if same < index < len(known) and known[index].is_unchanged(value):
                changed.append(known[index])
            else:
                changed.append(Item.of(value, f"{where}[{index}]", watched=True))
        return self.prefix(same).extended(changed)


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
