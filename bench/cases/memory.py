"""Memory of a conversation, beyond its text."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable

from msgspec import json

from cases.bench import Bench, Figures, resident_bytes
from clients.base import Seed
from load.order import Order, text_of

_SEED = Seed(20, 10)
_OWN_BYTES = (
    len(json.encode(_SEED.messages())) + len(_SEED.instructions) + len(json.encode(_SEED.definitions()))
)


async def resident(bench: Bench) -> Figures:
    """Idle conversations with 22 messages, then the same while they are answered: resident memory."""
    return await _measured(bench, resident_bytes)


async def traced(bench: Bench) -> Figures:
    """The same, as bytes that Python allocated."""
    tracemalloc.start()
    return await _measured(bench, lambda: tracemalloc.get_traced_memory()[0])


async def _measured(bench: Bench, now: Callable[[], int]) -> Figures:
    client = await bench.open()
    count = 100 if client.speed < 100_000 else 500
    warming = await bench.talks(20, _SEED)
    gc.collect()
    before = now()
    talks = await bench.talks(count, _SEED)
    gc.collect()
    idle = now() - before
    for talk in talks:
        talk.say(text_of(Order(deltas=200, rate=20)))
    tasks = [asyncio.create_task(talk.ask()) for talk in talks]
    await asyncio.sleep(3)
    gc.collect()
    live = now() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    del warming
    return {
        "conversations": count,
        "idle_kb": idle / count / 1024,
        "live_kb": live / count / 1024,
        "own_words_kb": _OWN_BYTES / 1024,
    }
