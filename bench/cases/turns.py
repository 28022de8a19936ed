"""Cost of a turn, and its bytes on the wire."""

from __future__ import annotations

import asyncio
import gc
import time

from cases.bench import Bench, Figures, median
from clients.base import Seed
from load.order import Order, text_of

HISTORIES = (2, 20, 200, 2000, 5000)
_TOOLS = 10
_TURNS = 50
_LONG_INSTRUCTIONS = "Be brief. " * 200


async def grows(bench: Bench) -> Figures:
    """A turn of a history that grows in place, by length."""
    return await _by_length(bench, renewed=False)


async def fresh(bench: Bench) -> Figures:
    """A turn of a history whose objects are new and equal, by length."""
    return await _by_length(bench, renewed=True)


async def _by_length(bench: Bench, *, renewed: bool) -> Figures:
    client = await bench.open()
    figures: Figures = {}
    for length in HISTORIES[:-1] if bench.quick else HISTORIES:
        talk = await client.talk(Seed(length, _TOOLS))
        await bench.turn(talk)
        await bench.turn(talk)
        cpus: list[float] = []
        walls: list[float] = []
        until = time.perf_counter() + (0.5 if bench.quick else 1.5)
        while len(cpus) < 3 or (len(cpus) < 100 and time.perf_counter() < until):
            talk.say("And then? " + text_of(Order(deltas=3)))
            if renewed:
                talk.renew()
            if len(cpus) % 10 == 0:
                gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            await talk.ask()
            cpus.append(time.process_time() - cpu)
            walls.append(time.perf_counter() - wall)
        figures[f"cpu_ms_{length}"] = median(cpus) * 1e3
        figures[f"wall_ms_{length}"] = median(walls) * 1e3
    await client.close()
    return figures


async def bytes_on_wire(bench: Bench) -> Figures:
    """A conversation of 50 turns, each a question, a tool call, its output and an answer: 100 responses."""
    return await _bytes_of(bench, Seed(0, _TOOLS))


async def bytes_with_instructions(bench: Bench) -> Figures:
    """The same with 2 KB of instructions, in each request or once."""
    seed = Seed(0, _TOOLS, instructions=_LONG_INSTRUCTIONS)
    figures = await _bytes_of(bench, seed)
    return figures | {"instructions": len(_LONG_INSTRUCTIONS) * figures["responses"]}


async def _bytes_of(bench: Bench, seed: Seed) -> Figures:
    client = await bench.open()
    talk = await client.talk(seed)
    bench.counts()
    for number in range(_TURNS):
        talk.say(f"Question number {number}, of some length, as people ask. " + text_of(Order(call=1)))
        await talk.work()
    counts = bench.counts()
    await client.close()
    return {
        "bytes_per_turn": counts["bytes"] / _TURNS,
        "frames_per_turn": counts["frames"] / _TURNS,
        "bytes": counts["bytes"],
        "responses": counts["requests"],
        "chained": counts["chained"],
    }


async def handshakes(bench: Bench) -> Figures:
    """1,000 turns of 50 conversations, 16 at a time; every tenth answer is left early."""
    client = await bench.open()
    bench.counts()
    slow = client.speed < 100_000
    each = 4 if bench.quick or slow else 20
    talks = [await client.talk(Seed()) for _ in range(10 if bench.quick else 50)]
    gate = asyncio.Semaphore(16)

    async def converse(offset: int) -> None:
        for number in range(each):
            left = (number + offset) % 10 == 5
            async with gate:
                talks[offset].say(text_of(Order(deltas=100 if left else 3, rate=500 if left else 0)))
                await talks[offset].ask(limit=2 if left else 0)

    await asyncio.gather(*(converse(offset) for offset in range(len(talks))))
    made, turns = bench.counts()["handshakes"], each * len(talks)
    await client.close()
    return {"turns": turns, "handshakes": made, "per_1000": made / turns * 1000}
