"""Histories that the application keeps and gives to ``Client.stream``, by their keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from ._decisions.placement import Owner
from ._protocol.fields import Fields
from ._protocol.history import History


class KeyedHistory:
    """The latest request of one key. The next request shares its unchanged fields and items.

    Attributes:
        owner: chains the turns of the key.
        history: the whole input of the latest request.
        fields: the fields of the latest request; ``None`` before the first.
    """

    __slots__ = ("fields", "history", "owner")

    def __init__(self) -> None:
        self.owner: Owner = Owner()
        self.history: History = History()
        self.fields: Fields | None = None


class KeyedHistories:
    """The histories of the most recently used keys.

    Args:
        max_keys: the number of keys above which the least recently used one is forgotten.
    """

    __slots__ = ("_histories", "_max_keys")

    def __init__(self, max_keys: int) -> None:
        self._histories: OrderedDict[Hashable, KeyedHistory] = OrderedDict()
        self._max_keys = max_keys

    def of(self, key: Hashable) -> KeyedHistory:
        """The history of a key, which becomes the most recently used; an empty one for a new key."""
        history = self._histories.setdefault(key, KeyedHistory())
        self._histories.move_to_end(key)
        if len(self._histories) > self._max_keys:
            self._histories.popitem(last=False)
        return history

    def find(self, key: Hashable) -> KeyedHistory | None:
        """The history of a key, if it is known. Does not count as a use."""
        return self._histories.get(key)

    def forget(self, key: Hashable) -> None:
        """Forget a key. Does nothing if the key is unknown."""
        self._histories.pop(key, None)

    def __len__(self) -> int:
        return len(self._histories)


__all__ = ["KeyedHistories", "KeyedHistory"]
