"""One response over HTTP: as a whole, or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from aiohttp import web

from .errors import ApiError
from .generation import Generation
from .outbox import HIGH_WATER_BYTES
from .pace import Pace
from .player import Player


class _Collector:
    """A sink that keeps events until somebody takes them."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        self.changed = asyncio.Event()
        self._size = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def congested(self) -> bool:
        return self._size > HIGH_WATER_BYTES

    def write(self, data: bytes) -> None:
        self.chunks.append(data)
        self._size += len(data)
        self.changed.set()

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def end(self) -> None:
        self.ended = True
        self.changed.set()

    def take(self) -> list[bytes]:
        self.changed.clear()
        taken, self.chunks = self.chunks, []
        self._size = 0
        return taken

    def release(self) -> None:
        """Let the response go on."""
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()


def sse(data: bytes) -> bytes:
    """A server-sent event."""
    kind = msgspec.json.decode(data, type=_Typed).type
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class _Typed(msgspec.Struct):
    type: str


def _player(generation: Generation, collector: _Collector, pace: Pace) -> Player:
    return Player(generation.events(), collector, pace, asyncio.get_running_loop(), collector.end)


async def stream(
    request: web.Request, generation: Generation, pace: Pace, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with server-sent events; cancelled when the client leaves."""
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"} | headers
    )
    await answer.prepare(request)
    collector = _Collector()
    player = _player(generation, collector, pace)
    player.start()
    try:
        while not collector.ended or collector.chunks:
            await collector.changed.wait()
            await answer.write(b"".join(map(sse, collector.take())))
            collector.release()
        await answer.write_eof()
    finally:
        player.stop()
    return answer


async def complete(generation: Generation, pace: Pace) -> None:
    """Run a response to its end, unseen."""
    collector = _Collector()
    player = _player(generation, collector, pace)
    player.start()
    try:
        while not collector.ended:
            await collector.changed.wait()
            collector.take()
            collector.release()
    finally:
        player.stop()


def refusal(error: ApiError, headers: dict[str, str]) -> web.Response:
    """An error over HTTP."""
    return web.json_response({"error": error.body()}, status=error.status, headers=headers | error.headers)
