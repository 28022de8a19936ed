"""One response over HTTP, as JSON or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from aiohttp import web

from .._protocol.events import Event
from .._service.moves import HangUp, Move, Raw
from ..pace import Pace
from .outbox import HIGH_WATER_BYTES
from .player import Player


class Collector:
    """A sink that buffers events, as server-sent events, until `take`."""

    def __init__(self, hang_up: Callable[[HangUp], None]) -> None:
        self.ended = False
        self.failure: bytes | None = None
        """The ``error`` event that ended the response, or None."""
        self._hang_up = hang_up
        self._chunks: list[bytes] = []
        self._changed = asyncio.Event()
        self._size = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def congested(self) -> bool:
        """Whether the buffer is above its high-water mark."""
        return self._size > HIGH_WATER_BYTES

    def write(self, event: Event) -> None:
        """Buffer an event."""
        if event.type == "error":
            self.failure = event.data
        self._keep(b"event: %b\ndata: %b\n\n" % (event.type.encode(), event.data))

    def write_raw(self, message: Raw) -> None:
        """Buffer a message that is not a whole event."""
        self._keep(b"data: %b\n\n" % message.data)

    def hang_up(self, how: HangUp) -> None:
        """Close the connection."""
        self._hang_up(how)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back after the next `take`."""
        self._waiting.append(callback)

    def end(self) -> None:
        """Mark the end of the response."""
        self.ended = True
        self._changed.set()

    async def take(self) -> bytes:
        """Wait for data and return all that is buffered; empty at the end."""
        if not self._chunks and not self.ended:
            self._changed.clear()
            await self._changed.wait()
        taken, self._chunks = b"".join(self._chunks), []
        self._size = 0
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        return taken

    def _keep(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._changed.set()


def _player(moves: Iterator[Move], collector: Collector, pace: Pace) -> Player:
    return Player(moves, collector, pace, asyncio.get_running_loop(), collector.end)


async def stream(
    request: web.Request, moves: Iterator[Move], pace: Pace, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with server-sent events. aiohttp cancels this when the client disconnects."""
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"} | headers
    )
    await answer.prepare(request)
    collector = Collector(lambda how: _abort(request))
    player = _player(moves, collector, pace)
    player.start()
    try:
        while data := await collector.take():
            await answer.write(data)
        await answer.write_eof()
    except ConnectionError:
        pass  # the client has disconnected
    finally:
        player.stop()
    return answer


async def complete(moves: Iterator[Move], pace: Pace, request: web.Request | None = None) -> bytes | None:
    """Run a response to its end and return the ``error`` event that ended it, or None."""
    collector = Collector(lambda how: _abort(request))
    player = _player(moves, collector, pace)
    player.start()
    try:
        while await collector.take():
            pass
    finally:
        player.stop()
    return collector.failure


def _abort(request: web.Request | None) -> None:
    if request is not None and request.transport is not None:
        request.transport.abort()
