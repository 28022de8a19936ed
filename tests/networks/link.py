"""A TCP link between a client and a server that fails as told.

Nothing here knows HTTP or WebSocket. The link ends TCP: its kernel acknowledges what the link does not pass,
as that of a suspended server does. A partition, in which nothing is acknowledged, needs network namespaces:
tests/system/test_partition.py.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_PIECE_BYTES = 1024


class Link:
    """A port that passes connections to a server.

    Args:
        base_url: the URL of the server; `base_url` is the same by way of the link.

    Attributes:
        dials: the connections that were made.
        silent: nothing passes on connections that are made from now on.
        cuts: connections that are made from now on are reset after their first byte.
        cuts_after_bytes: they are reset once the server has sent so many bytes; ``None`` for never.
        uplink_bytes_per_s: the rate at which all connections together are read from the client.
        carried_up: the bytes that have passed to the server.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = parts.hostname, parts.port
        self._parts = parts
        # Bound all the time, and never listening: no other server gets the port while the link refuses.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self._port = self._held.getsockname()[1]
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._line = asyncio.Lock()
        self.dials = 0
        self.silent = False
        self.cuts = False
        self.cuts_after_bytes: int | None = None
        self.uplink_bytes_per_s: float | None = None
        self.carried_up = 0

    @property
    def base_url(self) -> str:
        """The URL of the server by way of the link."""
        return urlunsplit(self._parts._replace(netloc=f"127.0.0.1:{self._port}"))

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._held.close()

    # Faults.

    def fall_silent(self) -> None:
        """Pass nothing more on the connections that exist, as a NAT that has forgotten them."""
        for connection in self._connections:
            connection.is_silent = True

    def half_open(self) -> None:
        """As `fall_silent`, and the server has ended the connections."""
        for connection in self._connections:
            connection.is_silent = True
            connection.end_far()

    def speak_again(self) -> None:
        """Pass what was held back, and what follows."""
        for connection in self._connections:
            connection.is_silent = False
            connection.resumed.set()

    def cut(self) -> None:
        """Reset the connections that exist."""
        for connection in list(self._connections):
            connection.reset()

    def refuse(self) -> None:
        """Refuse new connections."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def accept(self) -> None:
        """Accept new connections, on the same port as before."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=_PIECE_BYTES)
        for listening in self._listener.sockets:  # little is hidden in the kernel
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    # The connections.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.dials += 1
        if self.cuts:
            with suppress(OSError, asyncio.CancelledError):
                await reader.read(1)
            _reset(writer)
            return
        with suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._server)
            connection = _Connection(writer, far_writer, is_silent=self.silent)
            self._connections.add(connection)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._up(connection, reader, far_writer))
                    group.create_task(self._down(connection, far_reader, writer, self.cuts_after_bytes))
            except ExceptionGroup:
                pass  # one side was reset
            finally:
                self._connections.discard(connection)
                connection.reset()

    async def _up(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_PIECE_BYTES):
            if self.uplink_bytes_per_s is not None:
                async with self._line:
                    await asyncio.sleep(len(data) / self.uplink_bytes_per_s)
            await connection.may_pass()
            writer.write(data)
            await writer.drain()
            self.carried_up += len(data)
        await connection.may_pass()
        writer.close()

    async def _down(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cut_after_bytes: int | None,
    ) -> None:
        passed = 0
        while data := await reader.read(65536):
            await connection.may_pass()
            writer.write(data)
            await writer.drain()
            passed += len(data)
            if cut_after_bytes is not None and passed >= cut_after_bytes:
                connection.reset()
                return
        await connection.may_pass()
        writer.close()


class _Connection:
    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, *, is_silent: bool) -> None:
        self._near = near
        self._far = far
        self.is_silent = is_silent
        self.resumed = asyncio.Event()

    async def may_pass(self) -> None:
        """Wait while the connection is silent."""
        while self.is_silent:
            self.resumed.clear()
            await self.resumed.wait()

    def end_far(self) -> None:
        _reset(self._far)

    def reset(self) -> None:
        _reset(self._near)
        _reset(self._far)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
