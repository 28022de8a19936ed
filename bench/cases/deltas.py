"""What a text delta costs, from the socket to the caller."""

from __future__ import annotations

import asyncio
import time

from cases.bench import Bench, Figures, cost_of, quantile, resident_bytes
from clients.base import Seed
from load.order import Order, text_of

_SLOW = 100_000  # deltas a second, below which a client is given fewer conversations


async def one_stream(bench: Bench) -> Figures:
    """One stream as fast as it is taken."""
    client = await bench.open()
    (talk,) = await bench.talks(1, Seed())
    count = bench.size(1.0, 150_000)
    talk.say(text_of(Order(deltas=count)))
    cost = await cost_of(talk.ask)
    await client.close()
    return {"cpu_us": cost.cpu_s / count * 1e6, "wall_us": cost.wall_s / count * 1e6, "deltas": count}


async def many_lanes(bench: Bench) -> Figures:
    """64 streams at once, as fast as they are taken."""
    client = await bench.open()
    talks = await bench.talks(64, Seed())
    each = max(20, bench.size(1.5, 200_000) // 64)
    for talk in talks:
        talk.say(text_of(Order(deltas=each)))

    async def ask() -> None:
        await asyncio.gather(*(talk.ask() for talk in talks))

    bench.counts()
    cost = await cost_of(ask)
    count = each * len(talks)
    await client.close()
    return {"cpu_us": cost.cpu_s / count * 1e6, "wall_us": cost.wall_s / count * 1e6, "deltas": count}


class _Delays:
    """How long pieces were under way, from the server's stamp to the caller."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self.started = False

    def hear(self, text: str) -> None:
        if self.started:
            self.all.append((time.monotonic_ns() - int(text)) / 1e6)

    async def collect(self, seconds: float) -> None:
        """Take down what is heard from now on, for so long."""
        self.started = True
        await asyncio.sleep(seconds)
        self.started = False


async def paced(bench: Bench) -> Figures:
    """50 deltas a second on each of 1,000 conversations; of 100 for clients that need more than a core.

    Nothing is collected beforehand.
    """
    client = await bench.open()
    bench.counts()
    conversations = (200 if bench.quick else 1000) if client.speed >= _SLOW else 20 if bench.quick else 100
    before = resident_bytes()
    talks = await bench.talks(conversations, Seed())
    seconds = 2 if bench.quick else 4
    delays = _Delays()
    for talk in talks:
        talk.say(text_of(Order(deltas=50 * (seconds + 2), rate=50, stamp=1)))
    tasks = [asyncio.create_task(talk.ask(delays.hear)) for talk in talks]
    await asyncio.sleep(1.5)  # until all are under way
    memory = resident_bytes() - before
    cost = await cost_of(lambda: delays.collect(seconds), collect=False)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    counts = bench.counts()
    if not delays.all:
        raise RuntimeError("RuntimeError: no delta arrived")
    return {
        "conversations": conversations,
        "sockets": counts["handshakes"],
        "cpu_us": cost.cpu_s / len(delays.all) * 1e6,
        "cores": cost.cpu_s / cost.wall_s,
        "arrived_share": len(delays.all) / (conversations * 50 * cost.wall_s),
        "p50_ms": quantile(delays.all, 0.5),
        "p99_ms": quantile(delays.all, 0.99),
        "kb_each": memory / conversations / 1024,
        "server_late_ms": counts["late_ms"],
    }
