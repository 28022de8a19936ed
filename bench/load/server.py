"""Scripted server: sends the ordered answers, as fast as they are read or at a steady pace, and counts.

It runs in its own process, so that its cost is not part of any measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
from collections import deque
from dataclasses import asdict, dataclass

from msgspec import json

from load.answer import Answer
from load.order import decode_request, order_of
from load.wire import Wire

_ALONE = 64  # deltas in one write, if one answer runs alone


@dataclass
class Counts:
    """Counters since their previous read. A handshake is an upgrade, or a first request over HTTP."""

    handshakes: int = 0
    requests: int = 0
    frames: int = 0
    bytes: int = 0
    chained: int = 0
    lost_parents: int = 0
    late_ms: float = 0.0


counts = Counts()
stored: set[str] = set()


class Pace:
    """Sends one delta of every paced answer per period, each answer at its own offset."""

    def __init__(self) -> None:
        self._slots: dict[int, list[list[tuple[Socket, Answer]]]] = {}
        self._next: dict[int, float] = {}

    def add(self, socket: Socket, answer: Answer) -> None:
        """Add a paced answer."""
        slots = max(1, round(1000 / answer.order.rate))
        if slots not in self._slots:
            self._slots[slots] = [[] for _ in range(slots)]
            asyncio.get_running_loop().create_task(self._run(slots))
        self._slots[slots][random.randrange(slots)].append((socket, answer))

    async def _run(self, slots: int) -> None:
        """Run one slot per millisecond, and late slots immediately."""
        due = time.monotonic()
        wheel = self._slots[slots]
        while True:
            for index in range(slots):
                due += 0.001
                wait = due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                elif wait < -0.05:
                    counts.late_ms = max(counts.late_ms, -wait * 1000)
                    await asyncio.sleep(0)
                    due = time.monotonic()
                if wheel[index]:
                    wheel[index] = [pair for pair in wheel[index] if pair[0].step(pair[1])]


pace = Pace()


class Socket(Wire):
    """One connection and its answers."""

    def __init__(self) -> None:
        super().__init__()
        self._fast: list[Answer] = []
        self._waiting: dict[str | None, deque[tuple[bytes, int]]] = {}
        self._out: list[bytes] = []
        self._pumping = False
        self._ids: set[str] = set()
        self._counted = 0

    def on_upgrade(self) -> None:
        counts.handshakes += 1

    def on_get(self, path: str) -> bytes:
        if not path.endswith("/counts"):
            return super().on_get(path)
        global counts
        taken, counts = counts, Counts()
        return json.encode(asdict(taken))

    def on_request(self, body: bytes, *, arrived_first: bool) -> None:
        counts.handshakes += arrived_first  # a connection over HTTP
        counts.requests += 1
        counts.frames += 1
        counts.bytes += self.bytes_in - self._counted
        self._counted = self.bytes_in
        # Over loopback a connection takes no round trip. That of an upgrade is simulated by its answer.
        arrived_ns = time.monotonic_ns() + int(self.rtt_s * 1e9) * arrived_first
        lane = decode_request(body).stream_id
        delay_s = self.rtt_s * (2 if arrived_first else 1)
        self.later(delay_s, self._queue, lane, body, arrived_ns)

    def _queue(self, lane: str | None, body: bytes, arrived_ns: int) -> None:
        """Queue a request: a lane answers one request after the other."""
        waiting = self._waiting.setdefault(lane, deque())
        waiting.append((body, arrived_ns))
        if len(waiting) == 1:
            self._begin(body, arrived_ns)

    def _begin(self, body: bytes, arrived_ns: int) -> None:
        request, order = decode_request(body), order_of(body)
        self.begin_events()
        parent = request.previous_response_id
        if parent is not None and parent not in stored and parent not in self._ids:
            self._refuse(request.stream_id, parent)
            return
        counts.chained += parent is not None
        answer = Answer(request, order, self._emit)
        answer.arrived_ns = arrived_ns
        answer.begin()
        if order.drop:
            self.drop()
            return
        (self._ids if request.store is False else stored).add(answer.id)
        if order.rate and answer.left:
            self._flush()
            pace.add(self, answer)
        else:
            self._fast.append(answer)
            self._pump()

    def _refuse(self, lane: str | None, parent: str) -> None:
        counts.lost_parents += 1
        error = {
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "param": "previous_response_id",
        }
        error["message"] = f"Previous response with id '{parent}' not found."
        named = {"stream_id": lane} if lane is not None else {}
        self._emit(json.encode({"type": "error", "status": 400, **named, "error": error}), "error")
        self._flush()
        self._next(lane)

    def step(self, answer: Answer) -> bool:
        """Send one delta of a paced answer. Returns whether more follow."""
        if not self.is_open:
            return False
        answer.piece()
        if not answer.left:
            self._finish(answer)
        self._flush()
        return answer.left > 0

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pump()

    def _pump(self) -> None:
        """Send deltas of all answers in turn, until the socket is paused."""
        if self._pumping or not self.is_open:
            return
        for _ in range(_ALONE if len(self._fast) == 1 else 4):
            for answer in list(self._fast):
                if answer.left:
                    answer.piece()
                else:
                    self._fast.remove(answer)
                    self._finish(answer)
        self._flush()
        if self._fast and not self.is_paused:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._pumping = False
        self._pump()

    def _finish(self, answer: Answer) -> None:
        answer.end()
        self._flush()
        self.end_events()
        if answer.order.close:
            asyncio.get_running_loop().call_later(0.02, self.drop)
        self._next(answer.lane)

    def _next(self, lane: str | None) -> None:
        waiting = self._waiting[lane]
        waiting.popleft()
        if waiting:
            asyncio.get_running_loop().call_soon(self._begin, *waiting[0])

    def _emit(self, payload: bytes, kind: str) -> None:
        self._out.append(self.encode(payload, kind))

    def _flush(self) -> None:
        if self._out:
            self.write(b"".join(self._out))
            self._out.clear()


async def serve() -> None:
    """Listen on a free port, print the port, and serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Socket, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(serve())
