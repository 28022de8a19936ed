"""Waiting times, with a simulated round trip."""

from __future__ import annotations

import asyncio
import time

from cases.bench import Bench, Figures, median
from clients.base import Seed, Talk
from load.order import Order, text_of

RTTS = (0, 20, 50, 150)
_RTT = 50
_SEED = Seed(4, 10)


class _First:
    """The times of the first piece and of the arrival of its request at the server."""

    def __init__(self) -> None:
        self.heard_ns = 0
        self.arrived_ns = 0
        self.known = asyncio.Event()

    def hear(self, text: str) -> None:
        if not self.heard_ns and text.strip().isdigit():
            self.heard_ns = time.monotonic_ns()
            self.arrived_ns = int(text)
            self.known.set()


async def _timed(talk: Talk, begun: int = 0) -> tuple[float, float]:
    """Milliseconds until the server had the request, and until the client had the first piece."""
    first = _First()
    talk.say("Now? " + text_of(Order(deltas=3)))
    begun = begun or time.monotonic_ns()
    async with asyncio.timeout(20):
        await talk.ask(first.hear)
        await first.known.wait()
    return (first.arrived_ns - begun) / 1e6, (first.heard_ns - begun) / 1e6


async def tool_loop(bench: Bench) -> Figures:
    """20 tool calls, one after the other, then a text, by round trip."""
    figures: Figures = {}
    for rtt in RTTS[:3] if bench.quick else RTTS:
        bench.rtt_ms = rtt
        client = await bench.open()
        (talk,) = await bench.talks(1, _SEED)
        talk.say("Work. " + text_of(Order(call=20)))
        wall, cpu = time.perf_counter(), time.process_time()
        told = await talk.work()
        figures[f"cpu_ms_{rtt}"] = (time.process_time() - cpu) * 1e3
        figures[f"wall_ms_{rtt}"] = (time.perf_counter() - wall) * 1e3
        figures[f"responses_{rtt}"] = told.responses
        await client.close()
    return figures


async def first_turn(bench: Bench) -> Figures:
    """The first piece of the first answer: nothing ready, a socket ready, and everything prepared."""
    bench.rtt_ms = _RTT
    figures: Figures = {}
    for state in ("cold", "warmed", "prepared"):
        client = await bench.open()
        try:
            if state != "cold":
                await client.warm(1)
                await asyncio.sleep(4 * _RTT / 1e3)
            begun = time.monotonic_ns()
            talk = await client.talk(_SEED)
            if state == "prepared":
                await talk.prepare()
                begun = 0
        except NotImplementedError:
            continue
        figures[f"{state}_ms"] = (await _timed(talk, begun))[1]
        await client.close()
    return figures


async def after_barge_in(bench: Bench) -> Figures:
    """An answer is interrupted; the time until the server has the next request."""
    bench.rtt_ms = _RTT
    await bench.open()
    sent, heard = [], []
    for _ in range(4 if bench.quick else 10):
        (talk,) = await bench.talks(1, _SEED)
        talk.say("Talk. " + text_of(Order(deltas=100, rate=50)))
        await talk.ask(limit=5)
        arrived_ms, heard_ms = await _timed(talk)
        sent.append(arrived_ms)
        heard.append(heard_ms)
    return {"request_ms": median(sent), "first_piece_ms": median(heard), "worst_request_ms": max(sent)}


async def after_lost_socket(bench: Bench) -> Figures:
    """The socket is lost between two turns; the time until the next answer begins."""
    bench.rtt_ms = _RTT
    client = await bench.open()
    heard, failed = [], 0
    for _ in range(2 if bench.quick else 5):
        talk = await client.talk(_SEED)
        talk.say("Say it. " + text_of(Order(deltas=3, close=1)))
        await talk.ask()
        await asyncio.sleep(0.2)
        try:
            heard.append((await _timed(talk))[1])
        except Exception:
            failed += 1
    bench.counts()
    return {"failed": failed} | ({"first_piece_ms": median(heard)} if heard else {})
