"""The first turn of a fresh job process of a LiveKit worker, with and without a gateway beside the worker.

    cd livekit-plugins-trunkline && python -m bench.jobs --jobs 8 --round-trip-ms 60

LiveKit runs each job in a process of its own, so each job dials the service anew. With ``trunkline serve`` as
a sidecar, all jobs of a worker share its warm sockets. The processes are those of LiveKit's own pool, with
its defaults; the rooms are its mock rooms, as no LiveKit server runs. The service is the emulator, as far
away as the round trip says: a new connection costs two round trips (TCP, TLS), an upgrade and a request one
each.

Jobs begin one after another and stay until the last one has spoken, as calls do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livekit.agents import JobContext, JobProcess, llm
from livekit.agents.ipc.proc_pool import ProcPool
from livekit.agents.job import JobAcceptArguments, JobExecutorType, RunningJobInfo
from livekit.plugins import trunkline
from livekit.protocol import agent, models
from trunkline.cli.demo.distance import Distance
from trunkline.emulator import Emulator

TURNS = 2


# In the process of a job.


def set_up(process: JobProcess) -> None:
    """Nothing: what is opened before the job has another event loop."""


async def entrypoint(job: JobContext) -> None:
    """Take two turns, report the times to the first token, and stay until the worker says so."""
    given = json.loads(job.job.metadata)
    reader, writer = await asyncio.open_connection("127.0.0.1", given["port"])
    model = trunkline.LLM(
        model="echo", base_url=given["base_url"], api_key="sk-emulator", lanes=given["lanes"]
    )
    if given["prewarms"]:
        model.prewarm()
        await asyncio.sleep(given["prewarms"])
    held = llm.ChatContext.empty()
    times_s = []
    for turn in range(TURNS):
        held.add_message(role="user", content=f"Turn {turn} of {job.job.id}")
        times_s.append(await first_token_s(model, held))
        held.add_message(role="assistant", content=f"Turn {turn} of {job.job.id}")
    writer.write(json.dumps(times_s).encode() + b"\n")
    await reader.read()
    await model.aclose()
    writer.close()
    job.shutdown()


async def first_token_s(model: trunkline.LLM, held: llm.ChatContext) -> float:
    """The seconds from a request to its first text."""
    begun, first = time.perf_counter(), 0.0
    async with model.chat(chat_ctx=held) as stream:
        async for chunk in stream:
            if not first and chunk.delta is not None and chunk.delta.content:
                first = time.perf_counter()
    return first - begun


# In the process of the worker.


@dataclass
class Figures:
    """Figures of one way.

    Attributes:
        first_s: the times to the first token of the first turn of each job.
        second_s: those of its second turn.
        handshakes: the connections that the service accepted.
        sockets: those that were open when all jobs ran.
    """

    first_s: list[float] = field(default_factory=list)
    second_s: list[float] = field(default_factory=list)
    handshakes: int = 0
    sockets: int = 0


class Reports:
    """The connections of the jobs to their worker."""

    def __init__(self) -> None:
        self.times: asyncio.Queue[list[float]] = asyncio.Queue()
        self._ends: list[asyncio.StreamWriter] = []

    async def listen(self) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        self.times.put_nowait(json.loads(await reader.readline()))

    def end(self) -> None:
        """Let the jobs end."""
        for each in self._ends:
            each.close()
        self._server.close()


@asynccontextmanager
async def pool_of_processes() -> AsyncIterator[ProcPool]:
    """LiveKit's pool of job processes, as a worker makes it on Linux."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["livekit.agents", "livekit.plugins.trunkline"])
    pool = ProcPool(
        initialize_process_fnc=set_up,
        job_entrypoint_fnc=entrypoint,
        session_end_fnc=None,
        simulation_end_fnc=None,
        num_idle_processes=1,
        initialize_timeout=60,
        close_timeout=60,
        session_end_timeout=60,
        inference_executor=None,
        job_executor_type=JobExecutorType.PROCESS,
        mp_ctx=context,
        memory_warn_mb=0,
        memory_limit_mb=0,
        http_proxy=None,
        loop=asyncio.get_running_loop(),
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.aclose()


@asynccontextmanager
async def sidecar(service: str) -> AsyncIterator[str]:
    """``trunkline serve`` beside the worker; its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = _configuration(Path(folder, "gateway.toml"), port, service)
        command = [sys.executable, "-m", "trunkline", "serve", "--config", str(path)]
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=nothing)
        assert process.stdout is not None
        try:
            assert await process.stdout.readline(), "trunkline serve did not start"
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            await process.wait()


def _configuration(path: Path, port: int, service: str) -> Path:
    path.write_text(
        f"[listen]\nport = {port}\n[admin]\nport = false\n"
        f'[upstream.openai]\nbase_url = "{service}"\nlanes = true\n'
    )
    return path


async def measure(emulator: Emulator, far: Distance, base_url: str, jobs: int, **given: Any) -> Figures:
    """Let so many jobs begin, one after another."""
    found, before = Figures(), far.handshakes
    reports = Reports()
    port = await reports.listen()
    async with pool_of_processes() as pool:
        try:
            for number in range(jobs):
                metadata = json.dumps({"port": port, "base_url": base_url, **given})
                await pool.launch_job(_job(f"job {number}", metadata))
                first, second = await reports.times.get()
                found.first_s.append(first)
                found.second_s.append(second)
            found.handshakes = far.handshakes - before
            found.sockets = len(emulator.live_connections)
        finally:
            reports.end()
    return found


def _job(name: str, metadata: str) -> RunningJobInfo:
    return RunningJobInfo(
        accept_arguments=JobAcceptArguments(name=name, identity=name, metadata=""),
        job=agent.Job(id=name, room=models.Room(name=name), metadata=metadata),
        url="",
        token="",
        worker_id="worker",
        fake_job=True,
    )


async def run(jobs: int, round_trip_s: float) -> None:
    """Measure and print all ways."""
    cores = len(os.sched_getaffinity(0))
    print(f"{jobs} job processes, one after another; {round_trip_s * 1000:g} ms round trip; {cores} cores")
    print(f"{'':48}{'first turn, ms':>18}{'second turn, ms':>18}{'sockets':>9}{'dialled':>9}")
    at_once, before = 0.0, 10 * round_trip_s
    async with Emulator() as emulator, Distance(emulator.base_url, round_trip_s) as far:
        for prewarms in (at_once, before):
            figures = await measure(emulator, far, far.base_url, jobs, lanes=True, prewarms=prewarms)
            row("each job dials the service", prewarms, figures)
        async with sidecar(far.base_url) as near:
            await measure(emulator, far, near, 1, lanes=None, prewarms=at_once)  # it is in use
            for prewarms in (at_once, before):
                figures = await measure(emulator, far, near, jobs, lanes=None, prewarms=prewarms)
                row("each job dials the sidecar", prewarms, figures)


def row(name: str, prewarms: float, figures: Figures) -> None:
    """Print the medians and the longest times of one way."""
    name += f", {prewarms:g} s before its turn" if prewarms else " with its turn"
    columns = [
        f"{statistics.median(times) * 1000:.0f} (max {max(times) * 1000:.0f})"
        for times in (figures.first_s, figures.second_s)
    ]
    print(f"{name:48}{columns[0]:>18}{columns[1]:>18}{figures.sockets:>9}{figures.handshakes:>9}", flush=True)


def main() -> None:
    """Measure, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--jobs", type=int, default=6)
    arguments.add_argument("--round-trip-ms", type=float, default=60)
    given = arguments.parse_args()
    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # it reports that idle processes end
    asyncio.run(run(given.jobs, given.round_trip_ms / 1000))


if __name__ == "__main__":
    main()
