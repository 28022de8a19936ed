"""A pretended distance: a relay on loopback that delays what passes."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

HANDSHAKE_ROUND_TRIPS = 2
"""Round trips before a new connection carries its first request: TCP and TLS 1.3."""

_READ_BYTES = 65536


class Distance:
    """Relays connections to a server, as if it were a round trip away. An asynchronous context manager.

    Bandwidth and loss are not simulated. A new connection carries nothing during its handshake.

    Args:
        url: the base URL of the server.
        round_trip_s: the round trip, in seconds.

    Attributes:
        handshakes: the connections accepted so far.
        port: the port that it listens on.
        bytes_sent: the bytes that the client has sent so far, with headers and frames.
    """

    def __init__(self, url: str, round_trip_s: float) -> None:
        self._parts = urlsplit(url)
        self._round_trip_s = round_trip_s
        self.port: int = 0
        self._server: asyncio.Server
        self._connections: set[asyncio.Task[None]] = set()
        self.handshakes: int = 0
        self.bytes_sent: int = 0

    @property
    def base_url(self) -> str:
        """The base URL for the client."""
        return urlunsplit(self._parts._replace(netloc=f"127.0.0.1:{self.port}"))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes += 1
        shaken_s = asyncio.get_running_loop().time() + HANDSHAKE_ROUND_TRIPS * self._round_trip_s
        onward: asyncio.StreamWriter | None = None
        try:
            answers, onward = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, onward, shaken_s, is_upward=True))
                both.create_task(self._pass_on(answers, writer, shaken_s))
        except* OSError:
            pass  # one side was reset: both are closed
        finally:
            writer.close()
            if onward is not None:
                onward.close()

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        from_s: float,
        *,
        is_upward: bool = False,
    ) -> None:
        """Write each chunk half a round trip after it arrived, and the end of the source likewise."""
        loop = asyncio.get_running_loop()
        delayed: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due_s, chunk = await delayed.get()
                await asyncio.sleep(due_s - loop.time())
                if not chunk:
                    break
                target.write(chunk)
            with contextlib.suppress(OSError):
                target.write_eof()

        async with asyncio.TaskGroup() as both:
            both.create_task(write())
            while chunk := await source.read(_READ_BYTES):
                self.bytes_sent += len(chunk) if is_upward else 0
                delayed.put_nowait((max(loop.time(), from_s) + self._round_trip_s / 2, chunk))
            delayed.put_nowait((loop.time() + self._round_trip_s / 2, b""))
