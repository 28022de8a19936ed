"""The memories of one event loop, bounded in number, bytes and idle time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator
from typing import Final

from .._decisions.lineage import LineageLimits
from .memory import Memory

MAX_MEMORIES: Final = 64


class Memories:
    """Memories by their keys, the least recently used first."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[Hashable, Memory] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def items(self) -> Iterator[tuple[Hashable, Memory]]:
        """The keys and memories."""
        return iter(self._by_key.items())

    def of(
        self, key: Hashable, limits: LineageLimits | None, now: float, *, has_random_call_ids: bool
    ) -> Memory:
        """The memory of a key. A new one may displace the least recently used one.

        Args:
            key: who shares the memory.
            limits: the bounds of a new memory.
            now: the time in seconds.
            has_random_call_ids: as for `Memory`.
        """
        memory = self._by_key.get(key)
        if memory is None:
            memory = self._by_key[key] = Memory(limits, has_random_call_ids=has_random_call_ids)
        self._by_key.move_to_end(key)
        memory.used_at = now
        while len(self._by_key) > MAX_MEMORIES:
            self._by_key.popitem(last=False)
        return memory

    def trim(self, now: float, in_use: Collection[Memory]) -> None:
        """Drop memories that were idle for too long, and the oldest ones while all hold too many bytes.

        Args:
            now: the time in seconds.
            in_use: memories of upstreams, which are kept and count as used now.
        """
        for memory in in_use:
            memory.used_at = now
        size_bytes = sum(memory.size_bytes for memory in self._by_key.values())
        for key, memory in list(self._by_key.items()):
            limits = memory.limits
            is_idle = now - memory.used_at > limits.idle_s
            if (is_idle or size_bytes > limits.max_bytes) and memory not in in_use:
                del self._by_key[key]
                size_bytes -= memory.size_bytes


__all__ = ["MAX_MEMORIES", "Memories"]
