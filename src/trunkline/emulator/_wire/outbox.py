"""Bounded write buffer of one connection, and the interface that a player writes to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from .._protocol.events import Event
from .._service.moves import HangUp, Raw

HIGH_WATER_BYTES = 256 * 1024


class Sink(Protocol):
    """Takes the events of a response."""

    @property
    def congested(self) -> bool:
        """Whether to wait for `when_drained` before writing more."""
        ...

    def write(self, event: Event) -> None:
        """Send one event."""
        ...

    def write_raw(self, message: Raw) -> None:
        """Send a message that is not a whole event."""
        ...

    def hang_up(self, how: HangUp) -> None:
        """Close the connection."""
        ...

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back when the buffer has room again; never if the client has disconnected."""
        ...


class Outbox:
    """Write buffer of one transport. Chunks of one event loop iteration are sent in one system call."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        drain: Callable[[], Awaitable[None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._send = send
        self._drain = drain
        self._loop = loop
        self._chunks: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []
        self._flush_handle: asyncio.Handle | None = None
        self._drainer: asyncio.Task[None] | None = None
        self._since_drain = 0
        self._closed = False

    @property
    def congested(self) -> bool:
        """Whether more than the high-water mark is sent and not yet read by the client."""
        return self._drainer is not None

    def write(self, chunk: bytes) -> None:
        """Queue a chunk; it is sent in the next event loop iteration."""
        if self._closed:
            return
        self._chunks.append(chunk)
        self._since_drain += len(chunk)
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self.flush)
        if self._since_drain > HIGH_WATER_BYTES and self._drainer is None:
            self._drainer = self._loop.create_task(self._wait_for_room())

    def flush(self) -> None:
        """Send the queued chunks now."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._chunks and not self._closed:
            chunks, self._chunks = self._chunks, []
            self._send(b"".join(chunks))

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back when the client has read enough; in the next iteration if it already has."""
        if self._drainer is None:
            self._loop.call_soon(callback)
        else:
            self._waiting.append(callback)

    def close(self) -> None:
        """Drop the queued chunks and the callbacks; later writes are ignored."""
        self._closed = True
        self._chunks.clear()
        self._waiting.clear()
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        if self._drainer is not None:
            self._drainer.cancel()

    async def _wait_for_room(self) -> None:
        try:
            self.flush()
            await self._drain()
        except ConnectionError:
            return
        self._since_drain = 0
        self._drainer = None
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
