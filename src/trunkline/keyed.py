"""Histories that the application keeps and gives to ``Client.stream``, by their keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from ._decisions.placement import Owner
from ._network.gateways import name_of
from ._protocol.fields import Fields
from ._protocol.history import History
from .options import PoolLimits


class KeyedHistory:
    """The latest request of one key. The next request shares its unchanged fields and items.

    Args:
        name: the name of the key, by which gateways know its requests again.

    Attributes:
        owner: chains the turns of the key.
        history: the whole input of the latest request.
        fields: the fields of the latest request; ``None`` before the first.
        size_bytes: the size of the history when it was last counted.
        used_at: the time of the latest request.
    """

    __slots__ = ("fields", "history", "owner", "size_bytes", "used_at")

    def __init__(self, name: bytes | None = None) -> None:
        self.owner: Owner = Owner(name=name)
        self.history: History = History()
        self.fields: Fields | None = None
        self.size_bytes: int = 0
        self.used_at: float = 0.0


class KeyedHistories:
    """The histories of the most recently used keys.

    Args:
        limits: the bounds of keys: their number, the size of their histories, and the time of disuse.
        clock: returns seconds.
    """

    __slots__ = ("_clock", "_histories", "_limits", "_size_bytes")

    def __init__(self, limits: PoolLimits, clock: Callable[[], float]) -> None:
        self._histories: OrderedDict[Hashable, KeyedHistory] = OrderedDict()
        self._limits = limits
        self._clock = clock
        self._size_bytes = 0

    def of(self, key: Hashable) -> KeyedHistory:
        """The history of a key, which becomes the most recently used; an empty one for a new key.

        After a change of the history, `count` it.
        """
        now = self._clock()
        self._drop_unused(now)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = KeyedHistory(name_of(key))
            if len(self._histories) > self._limits.max_keys:
                self._drop_first()
        else:
            self._histories.move_to_end(key)
        history.used_at = now
        return history

    def count(self, history: KeyedHistory) -> None:
        """Count the size of the latest used history. Others are forgotten if all are too large together."""
        size_bytes = history.history.size_bytes
        self._size_bytes += size_bytes - history.size_bytes
        history.size_bytes = size_bytes
        while self._size_bytes > self._limits.max_key_bytes and len(self._histories) > 1:
            self._drop_first()

    def find(self, key: Hashable) -> KeyedHistory | None:
        """The history of a key, if it is known. Does not count as a use."""
        return self._histories.get(key)

    def forget(self, key: Hashable) -> None:
        """Forget a key. Does nothing if the key is unknown."""
        history = self._histories.pop(key, None)
        if history is not None:
            self._size_bytes -= history.size_bytes

    def _drop_unused(self, now: float) -> None:
        unused_since = now - self._limits.key_idle_s
        while self._histories and next(iter(self._histories.values())).used_at < unused_since:
            self._drop_first()

    def _drop_first(self) -> None:
        _, history = self._histories.popitem(last=False)
        self._size_bytes -= history.size_bytes

    def __len__(self) -> int:
        return len(self._histories)


__all__ = ["KeyedHistories", "KeyedHistory"]
