"""Processes of a fleet: replicas of the gateway, and a balancer with its configuration of deploy/."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..waiting import soon, until
from .balancers import NGINX, Balancer


def free_port() -> int:
    """A free port that no outgoing connection gets meanwhile: a replica that restarts needs it again."""
    while True:
        port = random.randrange(12_000, 32_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that listens on a port."""

    def __init__(self, port: int, *command: str) -> None:
        self.port = port
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=quiet, env={**os.environ})
        await until(lambda: accepts(self.port), f"{self._command[0]} listens", within_s=60)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        assert self._process is not None
        return await soon(self._process.wait(), 60)

    async def stop(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def replica(folder: Path, upstream: str, *, notice_s: float = 0.2, within_s: float = 60) -> Process:
    """A replica of the gateway, as ``trunkline serve`` runs it."""
    port = free_port()
    path = folder / f"{port}.toml"
    path.write_text(
        f"[listen]\nport = {port}\n[admin]\nport = false\n"
        f'[upstream.openai]\nbase_url = "{upstream}"\nlanes = true\n'
        f"[drain]\nnotice_s = {notice_s}\nwithin_s = {within_s}\n"
    )
    return Process(port, sys.executable, "-m", "trunkline", "serve", "--config", str(path))


class Fleet:
    """Replicas behind a balancer."""

    def __init__(self, replicas: list[Process], balancer: Process) -> None:
        self.replicas = replicas
        self.balancer = balancer

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.balancer.port}/v1"


@asynccontextmanager
async def fleet(folder: Path, upstream: str, number: int, balancer: Balancer = NGINX) -> AsyncIterator[Fleet]:
    """So many replicas behind a balancer, which hashes over them."""
    replicas = [replica(folder, upstream) for _ in range(number)]
    port = free_port()
    path = balancer.write(folder, port, [each.port for each in replicas])
    front = Process(port, *balancer.run(path))
    try:
        await asyncio.gather(*(each.start() for each in replicas))
        await front.start()
        yield Fleet(replicas, front)
    finally:
        await asyncio.gather(*(each.stop() for each in (front, *replicas)))
