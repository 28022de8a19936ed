"""Frames become messages, and every connection ends once, with a reason."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from trunkline._decisions.liveness import Signs
from trunkline._network import tcp
from trunkline.errors import ConnectionLost, ProtocolViolation

from ..peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Open, Recorder, close_frame, frame

pytestmark = pytest.mark.usefixtures("complaints", "no_proxy")

SECRET = "sk-secret-0123456789"


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
    websocket, peer, receiver = await opened(close_timeout_s=3600)
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
    assert "too large for it" in str(error)


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
    assert "the client closed" in str(error)
    assert error.close_code == 4001
    await websocket.wait_closed()
    await peer.ended()
    assert receiver.messages == [b"still on its way"]
    assert receiver.errors == [error]


async def test_close_waits_only_so_long_for_the_answer(opened: Open) -> None:
    websocket, peer, receiver = await opened(close_timeout_s=0.01)
    websocket.close()
    await websocket.wait_closed()
    assert len(receiver.errors) == 1
    assert "the client closed" in str(receiver.errors[0])
    assert (await peer.read())[0] == CLOSE
    await peer.ended()


async def test_a_close_from_a_server_that_does_not_read_ends_too(opened: Open) -> None:
    websocket, peer, receiver = await opened(close_timeout_s=0.01)
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
    in_parts = frame(TEXT, b"thr", final=False) + frame(CONTINUATION, b"ee")
    peer.write(frame(TEXT, b"one"), frame(TEXT, b"two"), in_parts, frame(TEXT, b"four"))
    error = await receiver.closed
    assert isinstance(error, ConnectionLost)
    assert "the client closed" in str(error)
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
    opened: Open, complaints: list[dict[str, Any]]
) -> None:
    class Broken(Recorder):
        def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
            super().on_close(error)
            raise ValueError

    websocket, peer, receiver = await opened(Broken())
    peer.write(close_frame(1000))
    await websocket.wait_closed()
    assert len(receiver.errors) == 1
    assert [type(complaint["exception"]) for complaint in complaints] == [ValueError]
    complaints.clear()


async def test_a_closed_socket_leaves_no_timer(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    timers: list[asyncio.TimerHandle] = []

    def recorded(*arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(call_at(*arguments, **options))
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", recorded)
    websocket, peer, receiver = await opened(close_timeout_s=3600)
    websocket.close()
    peer.write(close_frame(1000))
    await receiver.closed
    await websocket.wait_closed()
    soon = loop.time() + 60
    late = [timer for timer in timers if timer.when() > soon]
    assert late, "the close has a time limit"
    assert all(timer.cancelled() for timer in late)


async def test_frames_are_counted_where_the_kernel_counts_no_bytes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "TCP_INFO", None)
    websocket, peer, receiver = await opened()
    assert websocket.signs() == Signs(0, 0, is_leaving=False)
    peer.write(frame(TEXT, b"one"), frame(PONG), frame(TEXT, b"two"))
    await receiver.arrived.get()
    await receiver.arrived.get()
    websocket.send(b"question")
    assert websocket.signs() == Signs(3, len(b"question"), is_leaving=False)


async def test_pings_are_answered_in_order(opened: Open) -> None:
    websocket, peer, _ = await opened()
    payloads = [b"%d" % number for number in range(3000)]
    for payload in payloads:
        peer.write(frame(PING, payload))
        assert await peer.read() == (PONG, payload)
    assert websocket.is_open


async def test_pings_whose_answers_are_not_read_end_the_socket(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    pings = frame(PING, b"p" * 125) * 1000
    most = 0
    while not receiver.closed.done():
        peer.write(pings)
        try:
            await peer.writer.drain()
        except ConnectionError:
            break
        await asyncio.sleep(0)
        most = max(most, websocket.buffered_bytes)
    error = await receiver.closed
    assert isinstance(error, ProtocolViolation)
    assert "does not read the answers" in str(error)
    assert most < 2**18
    peer.writer.transport.abort()
    await websocket.wait_closed()
