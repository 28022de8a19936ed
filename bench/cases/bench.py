"""What a case works with: one client, the scripted server, and the clocks."""

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


@dataclass
class Bench:
    """One client against one server.

    Attributes:
        name: the client's name.
        port: where the server listens.
        quick: less work, for a look.
        rtt_ms: the round trip that the server pretends.
    """

    name: str
    port: int
    quick: bool = False
    rtt_ms: int = 0
    client: Client = field(init=False)

    @property
    def url(self) -> str:
        """The base URL, as clients are given it."""
        rtt = f"/rtt{self.rtt_ms}" if self.rtt_ms else ""
        return f"http://127.0.0.1:{self.port}{rtt}/v1"

    async def open(self) -> Client:
        """The client, ready."""
        self.client = client_named(self.name)
        await self.client.open(self.url)
        return self.client

    async def talks(self, count: int, seed: Seed) -> list[Talk]:
        """So many conversations, each of which has had a turn."""
        talks = [await self.client.talk(seed) for _ in range(count)]
        for first in range(0, count, 64):
            await asyncio.gather(*(self.turn(talk) for talk in talks[first : first + 64]))
        return talks

    async def turn(self, talk: Talk) -> None:
        """A turn with a short answer."""
        talk.say(text_of(Order(deltas=3)))
        await talk.ask()

    def counts(self) -> dict[str, Any]:
        """What the server has counted since the last time."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=10) as answer:
            counts: dict[str, Any] = json.decode(answer.read())
        return counts

    def size(self, seconds: float, most: int) -> int:
        """How many deltas fill so many seconds, about."""
        seconds = seconds / 4 if self.quick else seconds
        return max(200, min(most, int(self.client.speed * seconds)))


@dataclass
class Cost:
    """CPU and wall time of something."""

    cpu_s: float
    wall_s: float


async def cost_of(what: Callable[[], Awaitable[object]], *, collect: bool = True) -> Cost:
    """Run it, and say what it cost this process. What was left over before is collected first."""
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
    """The middle one."""
    return statistics.median(values)


def quantile(values: list[float], share: float) -> float:
    """The value that this share of all are below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
