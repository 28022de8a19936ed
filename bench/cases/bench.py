"""The bench of a case: one client, the scripted server, and measurements of time and memory."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import json

from clients import client_named
from clients.base import Client, Seed, Talk
from load.order import Order, text_of

Figures = dict[str, float]


class CannotRun(Exception):
    """The case cannot be run for this client here. The message is the reason."""


@dataclass
class Bench:
    """One client against one server.

    Attributes:
        name: the client's name.
        port: the port of the server.
        quick: less work, for a first impression.
        rtt_ms: the simulated round trip, in ms.
    """

    name: str
    port: int
    quick: bool = False
    rtt_ms: int = 0
    client: Client = field(init=False)

    @property
    def url(self) -> str:
        """The base URL for the client."""
        rtt = f"/rtt{self.rtt_ms}" if self.rtt_ms else ""
        return f"http://127.0.0.1:{self.port}{rtt}/v1"

    async def open(self) -> Client:
        """The client, ready."""
        self.client = client_named(self.name)
        await self.client.open(self.url)
        return self.client

    async def talks(self, count: int, seed: Seed) -> list[Talk]:
        """This number of conversations, each with one turn completed."""
        talks = [await self.client.talk(seed) for _ in range(count)]
        for first in range(0, count, 64):
            await asyncio.gather(*(self.turn(talk) for talk in talks[first : first + 64]))
        return talks

    async def turn(self, talk: Talk) -> None:
        """Run a turn with a short answer."""
        talk.say(text_of(Order(deltas=3)))
        await talk.ask()

    def counts(self) -> dict[str, Any]:
        """The counters of the server since the previous call."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=10) as answer:
            counts: dict[str, Any] = json.decode(answer.read())
        return counts

    def size(self, seconds: float, most: int) -> int:
        """The number of deltas that take about this many seconds."""
        seconds = seconds / 4 if self.quick else seconds
        return max(200, min(most, int(self.client.speed * seconds)))


@dataclass
class Cost:
    """CPU and wall time."""

    cpu_s: float
    wall_s: float


async def cost_of(what: Callable[[], Awaitable[object]], *, collect: bool = True) -> Cost:
    """Run the work and measure its cost to this process. Garbage from before is collected first."""
    if collect:
        gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await what()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def resident_bytes() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
