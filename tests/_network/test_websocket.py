"""The socket against a real server: what is written, the upgrade with all its refusals, and cancelling."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from trunkline import PoolLimits
from trunkline._network.tcp import socket_options
from trunkline._network.websocket import WebSocket, dial
from trunkline.errors import ConfigurationError, ConnectFailed, ConnectionLost, UpgradeRefused

from ..peer import PING, PONG, TEXT, Open, Recorder, Server, close_frame, frame
from ..waiting import soon, until

pytestmark = pytest.mark.usefixtures("complaints", "no_proxy")

SECRET = "sk-secret-0123456789"


async def test_a_message_leaves_in_one_text_frame(opened: Open) -> None:
    websocket, peer, _ = await opened()
    for payload in (b"{}", b"x" * 200, b"y" * 70_000):
        websocket.send(payload)
        assert await peer.read() == (TEXT, payload)


async def test_a_message_right_behind_the_upgrade_is_not_lost(server: Server) -> None:
    receiver = Recorder()
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=receiver))
    (await server.next_peer()).accept(frame(TEXT, b"first"))
    websocket = await dialling
    assert await receiver.arrived.get() == b"first"
    websocket.abort()
    await websocket.wait_closed()


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


async def test_the_answer_to_a_ping_is_a_sign_and_no_message(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    before = websocket.signs()
    websocket.ping()
    assert (await peer.read_frame())[0] == PING
    peer.write(frame(PONG))
    assert before is not None
    await until(lambda: received(websocket) > before.received, "the PONG has arrived")
    assert receiver.messages == []
    assert websocket.is_open


async def test_a_part_of_a_message_is_a_sign(opened: Open) -> None:
    websocket, peer, receiver = await opened()
    before, whole = received(websocket), frame(TEXT, b"x" * 1000)
    peer.write(whole[:500])
    await until(lambda: received(websocket) == before + 500, "the half has arrived")
    assert receiver.messages == []


async def test_bytes_that_leave_are_a_sign(opened: Open) -> None:
    websocket, peer, _ = await opened(tcp_options=socket_options(PoolLimits()))
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    websocket.send(b"x" * (4 * 2**20))
    before = websocket.signs()
    assert before is not None
    assert before.is_leaving
    reading = asyncio.create_task(peer.read())
    peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await soon(reading)

    def has_left() -> bool:
        signs = websocket.signs()
        return signs is not None and not signs.is_leaving

    await until(has_left, "the acknowledgement of the last byte has arrived")
    after = websocket.signs()
    assert after is not None
    assert after.departed > before.departed


async def test_a_socket_that_has_ended_gives_no_signs(opened: Open) -> None:
    websocket, _, _ = await opened()
    websocket.abort()
    assert websocket.signs() is None
    websocket.ping()  # does nothing
    await websocket.wait_closed()


def received(websocket: WebSocket) -> int:
    signs = websocket.signs()
    assert signs is not None
    return signs.received


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


async def test_what_a_refusal_quotes_of_the_request_stays_in_its_fields(server: Server) -> None:
    answer = f"HTTP/1.1 401 Unauthorized\r\nX-Echo: {SECRET}\x01\r\n\r\n{SECRET}"
    error = await refusal(server, answer.encode())
    assert isinstance(error, UpgradeRefused)
    assert error.body == SECRET.encode()


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


async def test_a_dial_has_no_timeout_of_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    dialling = asyncio.ensure_future(dial(server.url, headers={}, receiver=Recorder()))
    peer = await server.next_peer()
    loop = asyncio.get_running_loop()
    an_hour_later = loop.time() + 3600
    monkeypatch.setattr(loop, "time", lambda: an_hour_later)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not dialling.done()
    peer.accept()
    websocket = await dialling
    websocket.abort()
    await websocket.wait_closed()


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
