"""A server that sends exactly the bytes of a test, and a receiver that records messages.

``conftest.py`` makes the fixtures available to every test.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from trunkline._network.websocket import WebSocket, dial
from trunkline.errors import ConnectionLost, ProtocolViolation

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Recorder:
    """A Receiver that records its calls."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.errors: list[ConnectionLost | ProtocolViolation] = []
        self.closed: asyncio.Future[ConnectionLost | ProtocolViolation] = (
            asyncio.get_running_loop().create_future()
        )

    def on_message(self, payload: bytes) -> None:
        self.messages.append(payload)
        self.arrived.put_nowait(payload)

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        self.errors.append(error)
        if not self.closed.done():
            self.closed.set_result(error)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = False) -> bytes:
    head = bytes([opcode | (0x80 if final else 0)])
    size, mask_bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head += bytes([size | mask_bit])
    elif size < 1 << 16:
        head += bytes([126 | mask_bit]) + struct.pack("!H", size)
    else:
        head += bytes([127 | mask_bit]) + struct.pack("!Q", size)
    return head + (bytes(4) if masked else b"") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class Peer:
    """Server side of one connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.request = request

    def accept(self, extra: bytes = b"", headers: str = "") -> None:
        key = next(
            line[18:].strip() for line in self.request.split(b"\r\n") if line[:18] == b"Sec-WebSocket-Key:"
        )
        digest = base64.b64encode(
            hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        ).decode()
        self.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {digest}\r\n{headers}\r\n".encode()
            + extra
        )

    def write(self, *chunks: bytes) -> None:
        self.writer.write(b"".join(chunks))

    async def read(self) -> tuple[int, bytes]:
        """The next frame, opcode and unmasked payload; PINGs are answered and passed over."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode != PING:
                return opcode, payload
            self.write(frame(PONG, payload))

    async def read_frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and unmasked payload."""
        first, second = await self.reader.readexactly(2)
        assert first & 0x80, "the client fragmented a message"
        assert second & 0x80, "the client did not mask a frame"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    async def ended(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass


class Server:
    """A server whose connections are answered by the test, one `Peer` each."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.all: list[Peer] = []

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self.server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/v1/responses"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        peer = Peer(reader, writer, request)
        self.all.append(peer)
        self.peers.put_nowait(peer)

    async def next_peer(self) -> Peer:
        return await self.peers.get()

    async def stop(self) -> None:
        self.server.close()
        for peer in self.all:
            peer.writer.transport.abort()
        await self.server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """Fail the test for problems that asyncio only logs: unretrieved exceptions, callbacks that raised."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    yield reports
    gc.collect()
    await asyncio.sleep(0)
    # Servers with TLS report clients that do not trust their certificate.
    assert [context for context in reports if context["message"] != "SSL handshake failed"] == []


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


Opened = tuple[WebSocket, Peer, Recorder]
Open = Callable[..., Awaitable[Opened]]


@pytest.fixture
async def opened(server: Server) -> AsyncIterator[Open]:
    """Function that opens one socket; keyword arguments go to ``dial``."""
    sockets = []

    async def open_one(recorder: Recorder | None = None, **options: Any) -> Opened:
        receiver = recorder or Recorder()
        dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=receiver, **options))
        peer = await server.next_peer()
        peer.accept()
        websocket = await dialling
        sockets.append(websocket)
        return websocket, peer, receiver

    yield open_one
    while sockets:  # pop them, so that leaked objects are collected and reported
        sockets[-1].abort()
        await sockets.pop().wait_closed()
