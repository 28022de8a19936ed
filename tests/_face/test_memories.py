from __future__ import annotations

from collections.abc import Iterable

from trunkline._decisions.lineage import LineageLimits
from trunkline._face.memories import MAX_MEMORIES, Memories
from trunkline._face.memory import Memory

LIMITS = LineageLimits(max_bytes=100, idle_s=10.0)


class Sized(Memory):
    """A memory that holds a number of bytes."""

    size = 0

    @property
    def size_bytes(self) -> int:
        return self.size


def made(*sizes: int, at: Iterable[float] = ()) -> tuple[Memories, list[Sized]]:
    """Memories with these sizes, the oldest first."""
    memories, kept = Memories(), []
    for name, size in enumerate(sizes):
        memory = Sized(LIMITS)
        memory.size = size
        memories._by_key[name] = memory
        kept.append(memory)
    for memory, time in zip(kept, at, strict=False):
        memory.used_at = time
    return memories, kept


def names(memories: Memories) -> list[object]:
    return [key for key, _ in memories.items()]


def test_a_key_has_one_memory() -> None:
    memories = Memories()
    one = memories.of("a", LIMITS, 1.0, has_random_call_ids=False)
    assert memories.of("a", LIMITS, 2.0, has_random_call_ids=False) is one
    assert (one.used_at, one.limits, len(memories)) == (2.0, LIMITS, 1)


def test_the_least_recently_used_memory_makes_room() -> None:
    memories = Memories()
    for name in range(MAX_MEMORIES):
        memories.of(name, None, 0.0, has_random_call_ids=False)
    memories.of(0, None, 1.0, has_random_call_ids=False)
    memories.of("another", None, 1.0, has_random_call_ids=False)
    assert len(memories) == MAX_MEMORIES
    assert 1 not in names(memories)
    assert 0 in names(memories)


def test_idle_memories_are_dropped() -> None:
    memories, _ = made(1, 1, at=(0.0, 5.0))
    memories.trim(10.0, [])
    assert names(memories) == [0, 1]
    memories.trim(10.5, [])
    assert names(memories) == [1]


def test_the_oldest_memories_are_dropped_beyond_the_bytes() -> None:
    memories, _ = made(60, 30, 60, 10)
    memories.trim(0.0, [])
    assert names(memories) == [1, 2, 3]


def test_memories_in_use_stay() -> None:
    memories, (one, *_) = made(60, 30, 60)
    memories.trim(100.0, [one])
    assert names(memories) == [0]
    assert one.used_at == 100.0
