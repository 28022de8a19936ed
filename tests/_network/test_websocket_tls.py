"""``wss``: verified by default, and every way to fail it has its sentence."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
import truststore

from trunkline._network.websocket import WebSocket, default_ssl_context, dial
from trunkline.errors import ConnectFailed

from ..peer import Recorder
from .echo import echo_server

pytestmark = pytest.mark.usefixtures("complaints", "no_proxy")


@pytest.fixture
async def port(certified: ssl.SSLContext) -> AsyncIterator[int]:
    """A WebSocket server whose certificate is for localhost and 127.0.0.1."""
    async with echo_server(certified) as port:
        yield port


async def assert_it_talks(websocket: WebSocket, receiver: Recorder) -> None:
    for size in (2, 100_000):
        websocket.send(b"x" * size)
        assert await receiver.arrived.get() == b"x" * size
    assert websocket.buffered_bytes == 0
    websocket.close()
    await websocket.wait_closed()
    websocket.abort()
    assert len(receiver.errors) == 1
    assert websocket.buffered_bytes == 0


async def test_messages_go_both_ways(port: int, trusting: ssl.SSLContext) -> None:
    receiver = Recorder()
    websocket = await dial(f"wss://localhost:{port}", headers={}, receiver=receiver, ssl_context=trusting)
    await assert_it_talks(websocket, receiver)


async def test_a_context_of_truststore_is_obeyed(
    port: int, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """truststore asks the system, whose bundle OpenSSL finds by this variable."""
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    receiver = Recorder()
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    websocket = await dial(f"wss://localhost:{port}", headers={}, receiver=receiver, ssl_context=context)
    await assert_it_talks(websocket, receiver)


async def test_by_default_the_system_decides_whom_to_trust(
    port: int, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    default_ssl_context.cache_clear()
    receiver = Recorder()
    try:
        websocket = await dial(f"wss://localhost:{port}", headers={}, receiver=receiver)
        await assert_it_talks(websocket, receiver)
    finally:
        default_ssl_context.cache_clear()


async def test_an_unknown_authority_is_not_trusted_by_default(port: int) -> None:
    with pytest.raises(ConnectFailed, match=r"certificate of localhost:\d+ is not trusted"):
        await dial(f"wss://localhost:{port}", headers={"Authorization": "x"}, receiver=Recorder())


async def test_a_certificate_for_another_name_is_not_trusted(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.org").configure_cert(context)
    async with echo_server(context) as port:
        with pytest.raises(ConnectFailed, match=r"certificate .* not trusted: Hostname mismatch"):
            await dial(f"wss://localhost:{port}", headers={}, receiver=Recorder(), ssl_context=trusting)


async def test_a_server_without_tls_is_a_failed_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConnectFailed, match=rf"the TLS handshake with 127\.0\.0\.1:{port}"):
            await dial(f"wss://127.0.0.1:{port}", headers={}, receiver=Recorder())


async def test_a_server_that_hangs_up_during_the_handshake_is_a_failed_connection() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1:\d+ ended before the upgrade: Connection"):
            await dial(f"wss://127.0.0.1:{port}", headers={}, receiver=Recorder())


@pytest.mark.parametrize("tls_done", [False, True])
async def test_a_cancelled_dial_leaves_nothing(
    authority: trustme.CA, trusting: ssl.SSLContext, tls_done: bool
) -> None:
    """Cancelled during the TLS handshake, and while the upgrade is not answered."""
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reached.set_result(None)
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
        writer.transport.abort()
        ended.set()

    context = None
    if tls_done:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"wss://localhost:{server.sockets[0].getsockname()[1]}"
    async with server:
        before = asyncio.all_tasks()
        dialling = asyncio.ensure_future(dial(url, headers={}, receiver=Recorder(), ssl_context=trusting))
        await reached
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await ended.wait()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
