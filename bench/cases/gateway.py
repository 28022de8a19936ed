"""Cost of a proxy between its callers and the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from cases.bench import Bench, CannotRun, Figures, quantile
from clients.base import Seed
from load.caller import Caller, Heard
from load.order import Order
from load.proxy import LITELLM, Proxy, proxy

STREAMS = {"trunkline-gateway": (20, 100, 400), "litellm-proxy": (20, 100)}
_SATURATED = {"trunkline-gateway": 2_000, "litellm-proxy": 200}
"""The deltas of each of 16 saturated streams."""
_IDLE = {"trunkline-gateway": 400, "litellm-proxy": 100}
_HISTORIES = {6: 40, 1000: 10}
"""The number of conversations by their lengths."""
_TURNS = 4


async def gateway(bench: Bench) -> Figures:
    """CPU and memory of a proxy: SSE paced at 50 deltas a second and saturated, turns, idle conversations."""
    if bench.name == "litellm-proxy" and not LITELLM.exists():
        raise CannotRun("LiteLLM's proxy is not installed")
    with proxy(bench.name, bench.port) as under:
        run = _Run(bench, under)
        figures = await run.turns()
        figures |= await run.saturated()
        for streams in STREAMS[bench.name][:2] if bench.quick else STREAMS[bench.name]:
            figures |= await run.paced(streams)
        figures |= await run.idle()
    return figures


class _Run:
    def __init__(self, bench: Bench, under: Proxy) -> None:
        self._bench = bench
        self._proxy = under

    def _callers(self, count: int, heard: Heard, history: int = 0) -> list[Caller]:
        start = time.monotonic_ns()
        return [
            Caller(self._proxy.port, heard, Seed(history), f"{start + number}") for number in range(count)
        ]

    async def _cost_s(self, work: Awaitable[Any]) -> float:
        before = self._proxy.cpu_s()
        await work
        return self._proxy.cpu_s() - before

    async def turns(self) -> Figures:
        """Turns of three deltas, after histories of several lengths; the first ones are not measured."""
        figures: Figures = {}
        for history, count in _HISTORIES.items():
            callers = self._callers(count, Heard(), history - 1)
            await _each(callers, 1)
            cost_s = await self._cost_s(_each(callers, _TURNS))
            figures[f"cpu_ms_turn_{history}"] = cost_s / (count * _TURNS) * 1e3
            _close(callers)
        figures["turn_ratio"] = figures["cpu_ms_turn_1000"] / figures["cpu_ms_turn_6"]
        return figures

    async def saturated(self) -> Figures:
        """16 streams as fast as they are taken."""
        each = _SATURATED[self._bench.name] // (4 if self._bench.quick else 1)
        callers = self._callers(16, heard := Heard())
        await _each(callers, 1)
        heard.deltas = 0
        cost_s = await self._cost_s(asyncio.gather(*(caller.ask(Order(deltas=each)) for caller in callers)))
        _close(callers)
        return {"cpu_us_saturated": cost_s / heard.deltas * 1e6, "deltas_saturated": heard.deltas}

    async def paced(self, streams: int) -> Figures:
        """50 deltas a second on each stream."""
        seconds = 2 if self._bench.quick else 5
        callers = self._callers(streams, heard := Heard())
        order = Order(deltas=50 * (seconds + 10), rate=50, stamp=1)
        tasks = [asyncio.create_task(caller.ask(order)) for caller in callers]
        end = time.monotonic() + 20
        while heard.deltas < streams * 25 and time.monotonic() < end:  # until all are under way
            await asyncio.sleep(0.1)
        heard.measures, begun, before = True, time.monotonic(), heard.deltas
        system_s = self._proxy.system_s()
        cost_s = await self._cost_s(asyncio.sleep(seconds))
        system_s = self._proxy.system_s() - system_s
        heard.measures, took_s, deltas = False, time.monotonic() - begun, heard.deltas - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _close(callers)
        await asyncio.sleep(1)  # until the proxy has noticed that they left
        return {
            f"cpu_us_{streams}": cost_s / max(1, deltas) * 1e6,
            f"system_us_{streams}": system_s / max(1, deltas) * 1e6,
            f"cores_{streams}": cost_s / took_s,
            f"arrived_share_{streams}": deltas / (streams * 50 * took_s),
            f"p50_ms_{streams}": quantile(heard.delays_ms or [0.0], 0.5),
            f"p99_ms_{streams}": quantile(heard.delays_ms or [0.0], 0.99),
        }

    async def idle(self) -> Figures:
        """Conversations of 22 messages whose callers have left."""
        count = _IDLE[self._bench.name] // (4 if self._bench.quick else 1)
        heard = Heard()
        await self._converse(20, heard)
        before = self._proxy.resident_bytes()
        await self._converse(count, heard)
        return {"idle_kb": (self._proxy.resident_bytes() - before) / count / 1024}

    async def _converse(self, count: int, heard: Heard) -> None:
        callers = self._callers(count, heard, 20)
        for first in range(0, count, 16):
            await _each(callers[first : first + 16], 1)
        _close(callers)


async def _each(callers: list[Caller], turns: int) -> None:
    async def converse(caller: Caller) -> None:
        for _ in range(turns):
            await caller.ask(Order(deltas=3))

    await asyncio.gather(*(converse(caller) for caller in callers))


def _close(callers: list[Caller]) -> None:
    for caller in callers:
        caller.close()
