"""Partitions of the network: no packet arrives, and nothing is acknowledged."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ..waiting import TIME_SCALE, soon
from .namespaces import SERVER, Machines

pytestmark = pytest.mark.namespaces

EMULATOR = f"""
import asyncio
from trunkline.emulator import Emulator

async def main():
    async with Emulator({SERVER!r}, api_key=None, tokens_per_second=20) as emulator:
        print(emulator.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
PROGRAM = """
import asyncio, json, sys, time
import trunkline
from trunkline.events import OutputTextDelta

def tell(**facts):
    print(json.dumps(facts), flush=True)

async def turn(client, chats):
    begun, error = time.monotonic(), None
    try:
        async with chats.send("go") as stream:
            async for event in stream:
                if isinstance(event, OutputTextDelta):
                    if begun is not None:
                        tell(first_s=time.monotonic() - begun)
                    begun = None
                last = time.monotonic()
        tell(answered=True, attempts=stream.metrics.attempts)
    except trunkline.TrunklineError as failure:
        since = last if begun is None else begun
        tell(error=type(failure).__name__, seconds=time.monotonic() - since)

async def main():
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with trunkline.Client(
        base_url=sys.argv[1], api_key="k", lanes=True, transport="websocket", proxy=""
    ) as client:
        while line := (await lines.readline()).decode().strip():
            if line == "idle":
                begun = time.monotonic()
                while client.connections:
                    await asyncio.sleep(0.05)
                tell(seconds=time.monotonic() - begun)
            else:
                await turn(client, client.conversation(model=line))

asyncio.run(main())
"""


class Program:
    """The client, in its namespace."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def begin(self, line: str) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def told(self) -> dict[str, Any]:
        """What it tells next."""
        assert self._process.stdout is not None
        line = await soon(self._process.stdout.readline(), 90)
        facts: dict[str, Any] = json.loads(line)
        return facts

    async def answers(self) -> dict[str, Any]:
        """The outcome of a turn that is answered."""
        self.begin("words-3")
        assert "first_s" in await self.told()
        return await self.told()


@asynccontextmanager
async def running(command: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture(scope="module")
def machines() -> Any:
    with Machines() as machines:
        yield machines


@pytest.fixture
async def program(machines: Machines, tmp_path: Path) -> AsyncIterator[Program]:
    machines.heal()
    async with running(machines.within("server", sys.executable, "-c", EMULATOR)) as server:
        assert server.stdout is not None
        url = (await soon(server.stdout.readline(), 60)).decode().strip()
        async with running(machines.within("client", sys.executable, "-c", PROGRAM, url)) as client:
            program = Program(client)
            assert (await program.answers())["answered"]
            yield program


async def test_an_answer_that_stops_is_an_error_within_ten_seconds(
    machines: Machines, program: Program
) -> None:
    program.begin("words-400")
    assert "first_s" in await program.told()
    machines.part()
    told = await program.told()
    assert told["error"] == "ConnectionLost"
    assert told["seconds"] < 10 * TIME_SCALE


async def test_a_turn_is_answered_on_another_connection_when_the_network_is_back(
    machines: Machines, program: Program
) -> None:
    machines.part()
    program.begin("words-3")
    await asyncio.sleep(6)
    machines.heal()
    assert "first_s" in await program.told()
    assert await program.told() == {"answered": True, "attempts": 2}


async def test_a_turn_without_a_network_is_an_error_within_thirty_seconds(
    machines: Machines, program: Program
) -> None:
    machines.part()
    program.begin("words-3")
    told = await program.told()
    assert told["error"] in ("ConnectionLost", "ConnectFailed", "DeadlineExceeded")
    assert told["seconds"] < 35 * TIME_SCALE
    machines.heal()
    assert (await program.answers())["answered"]


async def test_an_idle_connection_is_given_up_within_nine_seconds(
    machines: Machines, program: Program
) -> None:
    machines.part()
    program.begin("idle")
    assert (await program.told())["seconds"] < 9 * TIME_SCALE
    machines.heal()
    assert (await program.answers()) == {"answered": True, "attempts": 1}
