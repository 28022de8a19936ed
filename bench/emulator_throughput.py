"""Throughput of one emulator process, in text deltas per second.

    python bench/emulator_throughput.py [--lanes 64] [--seconds 5] [--rate TOKENS_PER_SECOND]

The server runs in its own process; the client only counts frames. With `--rate`, each lane is paced, and the
CPU time of the server is the figure of interest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from trunkline.emulator import Emulator

LANES_PER_CONNECTION = 16


class Counter(WSListener):  # type: ignore[misc]
    """Counts deltas."""

    deltas = 0
    bytes = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        data = frame.get_payload_as_bytes()
        if b'"response.output_text.delta"' in data[:45]:
            Counter.deltas += 1
            Counter.bytes += len(data)


def serve(pipe: Connection, rate: float | None) -> None:
    """Run an emulator until stopped, then report its CPU time."""

    async def run() -> None:
        async with Emulator(tokens_per_second=rate) as emulator:
            pipe.send((emulator.base_url, emulator.api_key))
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
            before = resource.getrusage(resource.RUSAGE_SELF)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
            after = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    asyncio.run(run())


async def measure(url: str, key: str, lanes: int, seconds: float, pipe: Connection) -> None:
    """Open the lanes, count the deltas, and print the result."""
    url = url.replace("http", "ws") + "/responses"
    headers = {"Authorization": f"Bearer {key}"}
    for first in range(0, lanes, LANES_PER_CONNECTION):
        transport, _ = await ws_connect(Counter, url, extra_headers=headers)
        for lane in range(first, min(first + LANES_PER_CONNECTION, lanes)):
            body = {
                "type": "response.create",
                "model": "words-1000000000",
                "input": "x",
                "stream_id": f"l{lane}",
            }
            transport.send(WSMsgType.TEXT, json.dumps(body).encode())
    await asyncio.sleep(1.0)
    pipe.send("begin")
    begun, deltas, size = time.perf_counter(), Counter.deltas, Counter.bytes
    await asyncio.sleep(seconds)
    elapsed, deltas, size = time.perf_counter() - begun, Counter.deltas - deltas, Counter.bytes - size
    pipe.send("end")
    cpu_s = pipe.recv()
    rate, megabytes = deltas / elapsed, size / elapsed / 1e6
    print(f"{lanes} lanes, {elapsed:.1f} s: {rate:,.0f} text deltas/s, {megabytes:.1f} MB/s")
    print(f"server: {cpu_s / elapsed:.0%} of a core, {cpu_s / max(deltas, 1) * 1e6:.2f} µs of CPU a delta")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=None)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, options.rate), daemon=True)
    server.start()
    url, key = ours.recv()
    asyncio.run(measure(url, key, options.lanes, options.seconds, ours))
    server.join(5)


if __name__ == "__main__":
    main()
