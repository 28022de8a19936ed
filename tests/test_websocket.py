"""The socket against real servers: some speak WebSocket well, others send exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from trunkline.errors import (
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ProtocolViolation,
    UpgradeRefused,
)
from trunkline.websocket import WebSocket, dial

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SECRET = "sk-secret-0123456789"


class Recorder:
    """A Receiver that keeps what it is told."""

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
    """The server's end of one connection, byte by byte."""

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
        """The next frame: opcode and unmasked payload."""
        first, second = await self.reader.readexactly(2)
        assert first & 0x80, "we never fragment"
        assert second & 0x80, "clients mask"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    async def ended(self) -> None:
        """Wait until the client's end is gone."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass


class Server:
    """Upgrade requests, one after the other, answered by the test."""

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


@pytest.fixture(autouse=True)
async def nothing_goes_wrong_unseen() -> AsyncIterator[list[dict[str, Any]]]:
    """What asyncio would only log (futures nobody looked at, callbacks that raised) fails the test."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    yield complaints
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


Opened = tuple[WebSocket, Peer, Recorder]


@pytest.fixture
async def opened(server: Server) -> AsyncIterator[Callable[..., Awaitable[Opened]]]:
    """Open one socket; keyword arguments go to ``dial``."""
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
    for websocket in sockets:
        websocket.abort()
        await websocket.wait_closed()


Open = Callable[..., Awaitable[Opened]]


# --- messages --------------------------------------------------------------------------------------------


async def test_a_message_leaves_in_one_text_frame(opened: Open) -> None:
    websocket, peer, _ = await opened()
    for payload in (b"{}", b"x" * 200, b"y" * 70_000):
        websocket.send(payload)
        assert await peer.read() == (TEXT, payload)


async def test_messages_arrive_whole_and_stay_valid_after_the_callback(opened: Open) -> None:
    _, peer, receiver = await opened()
    payloads = [b"%d" % i * (i + 1) for i in range(300)]
    peer.write(*(frame(TEXT, payload) for payload in payloads))
    for payload in payloads:
        assert await receiver.arrived.get() == payload
    assert receiver.messages == payloads
    assert all(type(payload) is bytes for payload in receiver.messages)


async def test_binary_frames_are_messages_too(opened: Open) -> None:
    _, peer, receiver = await opened()
    peer.write(frame(BINARY, b"{}"), frame(BINARY, b"[", final=False), frame(CONTINUATION, b"]"))
    assert [await receiver.arrived.get(), await receiver.arrived.get()] == [b"{}", b"[]"]


async def test_fragments_are_put_together_with_control_frames_between_them(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    peer.write(
        frame(TEXT, b"one ", final=False),
        frame(PING, b"still there?"),
        frame(CONTINUATION, b"", final=False),
        frame(PONG, b"unasked"),
        frame(CONTINUATION, b"two"),
        frame(TEXT, b"three"),
    )
    assert [await receiver.arrived.get(), await receiver.arrived.get()] == [b"one two", b"three"]
    assert await peer.read() == (PONG, b"still there?")
    assert websocket.is_open


@pytest.mark.parametrize(
    "wrong",
    [
        [frame(CONTINUATION, b"of nothing")],
        [frame(CONTINUATION, b"of nothing", final=False)],
        [frame(TEXT, b"one", final=False), frame(TEXT, b"whole")],
        [frame(TEXT, b"one", final=False), frame(BINARY, b"whole")],
        [frame(TEXT, b"one", final=False), frame(TEXT, b"another", final=False)],
    ],
)
async def test_fragments_out_of_order_end_the_socket(opened: Open, wrong: list[bytes]) -> None:
    websocket, peer, receiver = await opened()
    peer.write(*wrong, frame(CONTINUATION, b"late"), frame(TEXT, b"later"))
    error = await receiver.closed
    assert isinstance(error, ProtocolViolation)
    assert not websocket.is_open
    assert await peer.read() == (CLOSE, struct.pack("!H", 1002))
    await websocket.wait_closed()
    assert receiver.messages == []
    assert receiver.errors == [error]


async def test_a_message_of_exactly_the_limit_is_let_in(opened: Open) -> None:
    _, peer, receiver = await opened(max_message_bytes=1000)
    peer.write(frame(TEXT, b"a" * 1000))
    peer.write(frame(TEXT, b"b" * 999, final=False), frame(CONTINUATION, b"b"))
    assert [await receiver.arrived.get(), await receiver.arrived.get()] == [b"a" * 1000, b"b" * 1000]


@pytest.mark.parametrize(
    "wrong",
    [
        frame(TEXT, b"a" * 1001),
        frame(BINARY, b"a" * 1001, final=False),
        frame(TEXT, b"b" * 999, final=False) + frame(CONTINUATION, b"bb", final=False),
        frame(TEXT, b"b" * 999, final=False) + frame(CONTINUATION, b"bb"),
    ],
)
async def test_a_larger_message_ends_the_socket_and_the_error_names_the_limit(
    opened: Open, wrong: bytes
) -> None:
    websocket, peer, receiver = await opened(max_message_bytes=1000)
    peer.write(wrong)
    error = await receiver.closed
    assert isinstance(error, ProtocolViolation)
    assert "1000 bytes" in str(error)
    opcode, payload = await peer.read()
    assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1009))
    await websocket.wait_closed()
    assert receiver.messages == []
    assert receiver.errors == [error]


async def test_by_default_messages_are_larger_than_what_picows_allows(opened: Open) -> None:
    _, peer, receiver = await opened()
    peer.write(frame(TEXT, b"x" * (11 * 2**20)))
    assert len(await receiver.arrived.get()) == 11 * 2**20


async def test_a_message_right_behind_the_upgrade_is_not_lost(server: Server) -> None:
    receiver = Recorder()
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=receiver))
    (await server.next_peer()).accept(frame(TEXT, b"first"))
    websocket = await dialling
    assert await receiver.arrived.get() == b"first"
    websocket.abort()
    await websocket.wait_closed()


# --- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(frame(3, b"reserved"), id="unknown opcode"),
        pytest.param(frame(TEXT, b"masked", masked=True), id="masked"),
        pytest.param(frame(PING, b"part", final=False), id="control frame in parts"),
        pytest.param(frame(PING, b"p" * 126), id="large control frame"),
        pytest.param(close_frame(999), id="close code out of range"),
        pytest.param(frame(CLOSE, b"\x03"), id="half a close code"),
        pytest.param(frame(CLOSE, b"\x03\xe8\xff"), id="close reason that is no text"),
        pytest.param(b"\x81\x7e\x00\x01x", id="length in more bytes than needed"),
        pytest.param(b"\x81\x7f" + b"\xff" * 8, id="length beyond counting"),
        pytest.param(b"HTTP/1.1 500 Oops\r\n\r\n", id="HTTP"),
    ],
)
async def test_bytes_that_are_no_websocket_end_the_socket(opened: Open, wrong: bytes) -> None:
    websocket, peer, receiver = await opened()
    peer.write(frame(TEXT, b"good"), wrong)
    error = await receiver.closed
    assert isinstance(error, ProtocolViolation)
    assert not websocket.is_open
    assert (await peer.read())[0] == CLOSE
    await websocket.wait_closed()
    assert receiver.messages == [b"good"]
    assert receiver.errors == [error]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going away"), (1012, ""), (4000, "ours")])
async def test_a_close_of_the_server_is_told_with_code_and_reason(
    opened: Open, code: int, reason: str
) -> None:
    websocket, peer, receiver = await opened()
    peer.write(close_frame(code, reason), frame(TEXT, b"after the end"), close_frame(code))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert (error.close_code, error.reason, error.sent) == (code, reason, False)
    assert str(code) in str(error)
    assert not websocket.is_open
    assert await peer.read() == (CLOSE, struct.pack("!H", 1000))
    await websocket.wait_closed()
    assert receiver.messages == []
    assert receiver.errors == [error]


async def test_a_close_without_a_code_has_none(opened: Open) -> None:
    _, peer, receiver = await opened()
    peer.write(frame(CLOSE))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert error.close_code is None


async def test_close_code_1009_says_that_the_message_was_too_large_for_the_server(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    websocket.send(b"x" * 1000)
    peer.write(close_frame(1009))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert error.close_code == 1009
    assert "too large for the server" in str(error)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_ends_without_a_close_is_lost(opened: Open, reset: bool) -> None:
    websocket, peer, receiver = await opened()
    peer.write(frame(TEXT, b"last"))
    await receiver.arrived.get()
    if reset:
        peer.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        peer.writer.transport.abort()
    else:
        peer.writer.close()
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert error.close_code is None
    assert not websocket.is_open
    with pytest.raises(ConnectionLost):
        websocket.send(b"too late")


async def test_sending_after_the_end_raises_instead_of_dropping(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    websocket.close()
    assert not websocket.is_open
    with pytest.raises(ConnectionLost) as raised:
        websocket.send(b"too late")
    assert raised.value.sent is False

    websocket, peer, receiver = await opened()
    peer.write(close_frame(1000))
    await receiver.closed
    with pytest.raises(ConnectionLost):
        websocket.send(b"too late")

    websocket, peer, receiver = await opened()
    websocket.abort()
    with pytest.raises(ConnectionLost):
        websocket.send(b"too late")


async def test_close_says_goodbye_once_and_hears_the_answer(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    websocket.close(4001)
    websocket.close(4002)
    assert not websocket.is_open
    assert receiver.errors == []  # never from inside close()
    assert await peer.read() == (CLOSE, struct.pack("!H", 4001))
    peer.write(frame(TEXT, b"still on its way"), close_frame(4001))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert "from this side" in str(error)
    assert error.close_code == 4001
    await websocket.wait_closed()
    await peer.ended()
    assert receiver.messages == [b"still on its way"]
    assert receiver.errors == [error]


async def test_close_waits_only_so_long_for_the_answer(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    websocket.close_timeout_s = 0.01
    websocket.close()
    await websocket.wait_closed()
    assert len(receiver.errors) == 1
    assert "from this side" in str(receiver.errors[0])
    assert (await peer.read())[0] == CLOSE
    await peer.ended()


async def test_a_close_from_a_server_that_does_not_read_ends_too(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WebSocket, "close_timeout_s", 0.01)
    websocket, peer, receiver = await opened()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    websocket.send(b"x" * (32 * 2**20))
    assert websocket.buffered_bytes > 0
    peer.write(close_frame(1001))
    await receiver.closed
    await websocket.wait_closed()
    assert websocket.buffered_bytes == 0


async def test_abort_drops_what_has_arrived_behind(opened: Open) -> None:
    class Leaver(Recorder):
        def on_message(self, payload: bytes) -> None:
            super().on_message(payload)
            websocket.abort()
            websocket.abort()
            assert self.errors == []  # never from inside abort()

    websocket, peer, receiver = await opened(Leaver())
    peer.write(frame(TEXT, b"one"), frame(TEXT, b"two"), frame(TEXT, b"three", final=False))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert "from this side" in str(error)
    await peer.ended()
    websocket.abort()
    websocket.close()
    assert receiver.messages == [b"one"]
    assert receiver.errors == [error]


async def test_a_receiver_that_raises_ends_its_socket_and_gets_nothing_more(opened: Open) -> None:
    class Broken(Recorder):
        def on_message(self, payload: bytes) -> None:
            super().on_message(payload)
            raise ValueError(SECRET)

    websocket, peer, receiver = await opened(Broken())
    peer.write(frame(TEXT, b"one"), frame(TEXT, b"two"))
    peer.write(frame(TEXT, b"three"))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert isinstance(error.__cause__, ValueError)
    assert "ValueError" in str(error)
    assert SECRET not in str(error)
    assert await peer.read() == (CLOSE, struct.pack("!H", 1011))
    await websocket.wait_closed()
    assert receiver.messages == [b"one"]
    assert receiver.errors == [error]


async def test_a_receiver_that_raises_at_the_end_is_reported_to_the_loop(
    opened: Open, nothing_goes_wrong_unseen: list[dict[str, Any]]
) -> None:
    class Broken(Recorder):
        def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
            super().on_close(error)
            raise ValueError

    websocket, peer, receiver = await opened(Broken())
    peer.write(close_frame(1000))
    await websocket.wait_closed()
    assert len(receiver.errors) == 1
    assert [type(complaint["exception"]) for complaint in nothing_goes_wrong_unseen] == [ValueError]
    nothing_goes_wrong_unseen.clear()


async def test_cancelling_wait_closed_only_ends_the_wait(opened: Open) -> None:
    websocket, _, receiver = await opened()
    waiting = asyncio.ensure_future(websocket.wait_closed())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert websocket.is_open
    assert receiver.errors == []


async def test_buffered_bytes_are_those_that_the_kernel_has_not_taken(opened: Open) -> None:
    websocket, peer, _ = await opened()
    assert websocket.buffered_bytes == 0
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(8):
        websocket.send(b"x" * (4 * 2**20))
    assert 8 * 2**20 < websocket.buffered_bytes <= 32 * 2**20 + 8 * 14
    peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(8):
        await peer.reader.readexactly(4 * 2**20 + 14)
    assert websocket.buffered_bytes == 0


# --- pings -----------------------------------------------------------------------------------------------


async def test_an_unanswered_ping_ends_the_socket(opened: Open) -> None:
    websocket, peer, receiver = await opened(ping_interval_s=0.02, ping_timeout_s=0.01)
    assert (await peer.read())[0] == PING
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert "ping was not answered within 0.01 s" in str(error)
    await websocket.wait_closed()
    assert receiver.errors == [error]


async def test_answered_pings_keep_the_socket(opened: Open) -> None:
    websocket, peer, receiver = await opened(ping_interval_s=0.2, ping_timeout_s=0.2)
    for _ in range(2):
        opcode, payload = await peer.read()
        assert opcode == PING
        peer.write(frame(PONG, payload))
    assert websocket.is_open
    assert receiver.errors == []


async def test_a_ping_has_to_be_answered_before_the_next_is_due(opened: Open) -> None:
    _, _, receiver = await opened(ping_interval_s=0.01, ping_timeout_s=3600)
    assert "ping was not answered within 0.01 s" in str(await receiver.closed)


# --- the upgrade -----------------------------------------------------------------------------------------


async def refusal(server: Server, answer: bytes) -> UpgradeRefused | ConnectFailed:
    receiver = Recorder()
    dialling = asyncio.ensure_future(
        dial(server.url, headers={"Authorization": f"Bearer {SECRET}"}, receiver=receiver)
    )
    peer = await server.next_peer()
    peer.write(answer)
    with pytest.raises((UpgradeRefused, ConnectFailed)) as raised:
        await dialling
    await peer.ended()
    error = raised.value
    assert isinstance(error, (UpgradeRefused, ConnectFailed))
    assert receiver.errors == []
    assert SECRET not in f"{error!r} {error} {error.__cause__!r}"
    assert error.sent is False
    return error


async def test_headers_go_with_the_upgrade_request(server: Server) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "OpenAI-Project": "proj"}
    dialling = asyncio.ensure_future(dial(server.url + "?model=m", headers=headers, receiver=Recorder()))
    peer = await server.next_peer()
    lines = peer.request.decode().split("\r\n")
    assert lines[0] == "GET /v1/responses?model=m HTTP/1.1"
    assert f"Authorization: Bearer {SECRET}" in lines
    assert "OpenAI-Project: proj" in lines
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert not any("sec-websocket-extensions" in line.lower() for line in lines)
    peer.accept()
    websocket = await dialling
    assert SECRET not in repr(websocket)
    websocket.abort()
    await websocket.wait_closed()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 426, 429, 500, 503])
async def test_an_http_answer_is_a_refusal_with_its_facts(server: Server, status: int) -> None:
    body = b'{"error": {"code": "x"}}'
    error = await refusal(
        server,
        f"HTTP/1.1 {status} Whatever\r\nX-Request-ID: req_1\r\nVia: a\r\nVia: b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
    )
    assert isinstance(error, UpgradeRefused)
    assert (error.status, error.body, error.retry_after_s) == (status, body, None)
    assert error.headers["x-request-id"] == "req_1"
    assert error.headers["via"] == "a, b"


async def test_a_status_without_a_name_is_a_refusal(server: Server) -> None:
    error = await refusal(
        server, b"HTTP/1.1 520 Web Server Returned an Unknown Error\r\nCF-Ray: abc\r\n\r\nsorry"
    )
    assert isinstance(error, UpgradeRefused)
    assert (error.status, error.headers, error.body) == (520, {"cf-ray": "abc"}, b"sorry")


async def test_a_refusal_without_phrase_or_body_or_in_old_http_is_one(server: Server) -> None:
    error = await refusal(server, b"HTTP/1.1 403\r\n\r\n")
    assert isinstance(error, UpgradeRefused)
    assert (error.status, error.body) == (403, b"")
    error = await refusal(server, b"HTTP/1.0 502 Bad Gateway\r\nServer: proxy\r\nnot a header\r\n\r\n")
    assert isinstance(error, UpgradeRefused)
    assert (error.status, error.headers) == (502, {"server": "proxy"})


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1e9, 1e10),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0, 0),
    ],
)
async def test_retry_after_is_seconds_or_a_date(server: Server, value: str, low: float, high: float) -> None:
    error = await refusal(server, f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {value}\r\n\r\n".encode())
    assert isinstance(error, UpgradeRefused)
    assert error.retry_after_s is not None
    assert low <= error.retry_after_s <= high


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "9" * 400, "Fri, 99 Foo 2100"])
async def test_a_retry_after_that_means_nothing_is_none(server: Server, value: str) -> None:
    error = await refusal(server, f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {value}\r\n\r\n".encode())
    assert isinstance(error, UpgradeRefused)
    assert error.retry_after_s is None


async def test_a_redirect_is_a_refusal_and_the_credentials_stay_here(server: Server) -> None:
    elsewhere = Server()
    await elsewhere.start()
    try:
        error = await refusal(
            server, f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere.url}\r\n\r\n".encode()
        )
        assert isinstance(error, UpgradeRefused)
        assert error.status == 307
        assert elsewhere.all == []
    finally:
        await elsewhere.stop()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="no upgrade"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: bm8=\r\n\r\n",
            id="wrong key",
        ),
        pytest.param(b"x" * 40_000, id="endless"),
    ],
)
async def test_an_answer_that_is_neither_is_a_failed_connection(server: Server, answer: bytes) -> None:
    assert isinstance(await refusal(server, answer), ConnectFailed)


async def test_an_extension_that_was_not_offered_is_a_failed_connection(server: Server) -> None:
    receiver = Recorder()
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=receiver))
    peer = await server.next_peer()
    peer.accept(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    with pytest.raises(ConnectFailed, match="extension"):
        await dialling
    await peer.ended()
    assert receiver.errors == []


async def test_a_server_that_hangs_up_instead_of_answering_is_a_failed_connection(server: Server) -> None:
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=Recorder()))
    (await server.next_peer()).writer.close()
    with pytest.raises(ConnectFailed, match="closed the connection"):
        await dialling


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX-Evil: 1", f"{SECRET}\n", f"{SECRET}\udc80", f"{SECRET}é"])
async def test_headers_that_cannot_be_sent_are_refused_unseen(server: Server, value: str) -> None:
    with pytest.raises(ConfigurationError, match="Authorization") as raised:
        await dial(server.url, headers={"Authorization": value}, receiver=Recorder())
    assert SECRET not in str(raised.value)
    assert server.all == []


async def test_nothing_is_logged_of_headers_or_content(
    opened: Open, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    for name in ("picows", "picows.client", "trunkline"):
        caplog.set_level(1, name)
    await refusal(server, b"HTTP/1.1 401 Unauthorized\r\n\r\n" + SECRET.encode())
    websocket, peer, receiver = await opened()
    websocket.send(SECRET.encode())
    peer.write(frame(TEXT, SECRET.encode()), frame(3, SECRET.encode()))
    await receiver.closed
    await websocket.wait_closed()
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


# --- cancelling ------------------------------------------------------------------------------------------


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_a_dial_cancelled_before_the_answer_leaves_nothing(server: Server) -> None:
    before = others()
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=Recorder()))
    peer = await server.next_peer()
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    await peer.ended()
    assert others() == before


@pytest.mark.parametrize("answer", ["accept", "refuse"])
async def test_a_dial_cancelled_with_the_answer_in_the_air_leaves_nothing(
    server: Server, answer: str
) -> None:
    before = others()
    receiver = Recorder()
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=receiver))
    peer = await server.next_peer()
    if answer == "accept":
        peer.accept(frame(TEXT, b"hello"))
    else:
        peer.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    dialling.cancel()  # the answer has left the server, and nobody here has read it
    with pytest.raises(asyncio.CancelledError):
        await dialling
    await peer.ended()
    assert others() == before
    assert (receiver.messages, receiver.errors) == ([], [])


async def test_a_dial_cancelled_at_the_moment_it_is_connected_leaves_nothing(server: Server) -> None:
    class Canceller(Recorder):
        def on_message(self, payload: bytes) -> None:
            super().on_message(payload)
            dialling.cancel()

    before = others()
    receiver = Canceller()
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=receiver))
    peer = await server.next_peer()
    peer.accept(frame(TEXT, b"hello"))
    with pytest.raises(asyncio.CancelledError):
        await dialling
    await peer.ended()
    assert others() == before
    assert receiver.errors == []
