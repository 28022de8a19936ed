"""A proxy for tests."""

from __future__ import annotations

import asyncio
import ssl
import struct
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """HTTP, CONNECT, SOCKS4 and SOCKS5 on one port; records the destinations, and answers CONNECT as told.

    Each destination is taken to be a port of this machine.

    Args:
        always_to: the port to which each connection is passed as it is.

    Attributes:
        asked: host and port of each request.
        heads: the heads of the requests of HTTP and CONNECT.
        status: the answer to CONNECT, and to other requests unless it is 200; "silence" for none, to SOCKS
            either.
        socks_reply: the code of the answer to SOCKS5; 0 grants the request.
    """

    def __init__(self, always_to: int | None = None) -> None:
        self._always_to = always_to
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.status = "200 OK"
        self.socks_reply = 0
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await self.close_connections()
        await self._server.wait_closed()

    async def close_connections(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            target: tuple[str, int] | None
            if self._always_to is not None:
                target = "127.0.0.1", self._always_to
            elif await self._is_socks(reader):
                target = await self._socks(reader, writer)
            else:
                target = await self._http(reader, writer)
            if target is not None:
                await self._tunnel(reader, writer, target)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self.left.set()

    async def _is_socks(self, reader: asyncio.StreamReader) -> bool:
        self._first = await reader.readexactly(1)
        return self._first in (b"\x04", b"\x05")

    async def _http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int] | None:
        head = self._first + await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, url, _ = head.decode().split(" ", 2)
        if method != "CONNECT" and self.status.startswith("200"):
            await self._forward(reader, writer, url)
            return None
        self.asked.append(url)
        self.reached.set()
        if self.status == "silence":
            await reader.read()
            return None
        # CONNECT that succeeds has no body, and its answer no length.
        length = "" if self.status.startswith("200") else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {self.status}\r\n{length}\r\n".encode())
        if not self.status.startswith("200"):
            await reader.read()
            return None
        host, port = self.asked[-1].rsplit(":", 1)
        return host.strip("[]"), int(port)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        """Pass one request, for an absolute URL, and what follows it on its connection."""
        parts = urlsplit(url)
        self.asked.append(parts.netloc)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", parts.port)
        far_writer.write(self.heads[-1].replace(url.encode(), parts.path.encode(), 1))
        await self._join(reader, writer, far_reader, far_writer)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
        if self._first == b"\x04":
            return await self._socks4(reader, writer)
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x05\x00")
        assert await reader.readexactly(3) == b"\x05\x01\x00"
        if await reader.readexactly(1) == b"\x03":
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(str(byte) for byte in await reader.readexactly(4))
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        self.asked.append(f"{host}:{port}")
        self.reached.set()
        if self.status == "silence":
            await reader.read()
            raise ConnectionError
        writer.write(bytes([5, self.socks_reply, 0, 1]) + bytes(6))
        if self.socks_reply:
            await reader.read()
            raise ConnectionError
        return host, port

    async def _socks4(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
        command, port, *address = struct.unpack("!BH4B", await reader.readexactly(7))
        assert command == 1
        assert await reader.readuntil(b"\0") == b"\0"  # no user
        host = ".".join(map(str, address))
        self.asked.append(f"{host}:{port}")
        writer.write(b"\x00\x5a" + bytes(6))
        return host, port

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target[1])
        await self._join(reader, writer, far_reader, far_writer)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer))
                group.create_task(self._pump(far_reader, writer))
        finally:
            far_writer.transport.abort()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()
