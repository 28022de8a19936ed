"""Proxies: which one is taken, and what goes wrong on the way through it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from trunkline._network.websocket import dial
from trunkline.errors import ConnectFailed

from ..peer import Recorder
from ..proxy import Proxy
from .echo import echo_server

pytestmark = pytest.mark.usefixtures("complaints", "no_proxy")

PASSWORD = "pass-0123456789"


@pytest.fixture
async def plain() -> AsyncIterator[int]:
    async with echo_server() as port:
        yield port


@pytest.fixture
async def secure(certified: ssl.SSLContext) -> AsyncIterator[int]:
    async with echo_server(certified) as port:
        yield port


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    await proxy.start()
    yield proxy
    await proxy.stop()


async def talk(url: str, **options: Any) -> None:
    """Open a socket, and hear an echo through it."""
    receiver = Recorder()
    websocket = await dial(url, headers={"Authorization": "Bearer x"}, receiver=receiver, **options)
    websocket.send(b"x" * 100_000)
    assert await receiver.arrived.get() == b"x" * 100_000
    websocket.close()
    await websocket.wait_closed()


async def test_a_proxy_that_is_given_is_asked_for_a_tunnel(plain: int, proxy: Proxy) -> None:
    await talk(f"ws://localhost:{plain}/v1/responses", proxy=f"http://127.0.0.1:{proxy.port}")
    assert proxy.asked == [f"localhost:{plain}"]
    assert b"Bearer" not in proxy.heads[0]


async def test_credentials_of_the_proxy_go_to_the_proxy(plain: int, proxy: Proxy) -> None:
    await talk(f"ws://localhost:{plain}", proxy=f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}/")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzLTAxMjM0NTY3ODk=" in proxy.heads[0]


async def test_tls_goes_through_the_tunnel(secure: int, proxy: Proxy, trusting: ssl.SSLContext) -> None:
    await talk(f"wss://localhost:{secure}", ssl_context=trusting, proxy=f"http://127.0.0.1:{proxy.port}")
    assert proxy.asked == [f"localhost:{secure}"]
    with pytest.raises(ConnectFailed, match=r"certificate of localhost:\d+ through the proxy 127.0.0.1:\d+"):
        await talk(f"wss://localhost:{secure}", proxy=f"http://127.0.0.1:{proxy.port}")


@pytest.mark.parametrize("tls_inside", [False, True])
async def test_a_proxy_may_speak_tls_itself(
    plain: int, secure: int, certified: ssl.SSLContext, trusting: ssl.SSLContext, tls_inside: bool
) -> None:
    proxy = Proxy()
    await proxy.start(certified)
    url = f"wss://localhost:{secure}" if tls_inside else f"ws://localhost:{plain}"
    try:
        await talk(url, ssl_context=trusting, proxy=f"https://localhost:{proxy.port}")
        assert len(proxy.asked) == 1
    finally:
        await proxy.stop()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5"])
async def test_socks_resolves_names_at_the_proxy(plain: int, proxy: Proxy, scheme: str) -> None:
    await talk(f"ws://nowhere.invalid:{plain}", proxy=f"{scheme}://127.0.0.1:{proxy.port}")
    assert proxy.asked == [f"nowhere.invalid:{plain}"]


async def test_tls_goes_through_socks(secure: int, proxy: Proxy, trusting: ssl.SSLContext) -> None:
    await talk(f"wss://localhost:{secure}", ssl_context=trusting, proxy=f"socks5://127.0.0.1:{proxy.port}")
    assert proxy.asked == [f"localhost:{secure}"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_ws_obeys_the_environment(
    plain: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    await talk(f"ws://127.0.0.1:{plain}")
    assert proxy.asked == [f"127.0.0.1:{plain}"]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
async def test_wss_obeys_the_environment(
    secure: int, proxy: Proxy, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}")  # as people write it
    await talk(f"wss://localhost:{secure}", ssl_context=trusting)
    assert proxy.asked == [f"localhost:{secure}"]


async def test_the_variable_of_the_other_scheme_is_not_meant(
    plain: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    await talk(f"ws://127.0.0.1:{plain}")
    assert proxy.asked == []


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("value", ["*", "localhost", "example.org, localhost", "localhost:{port}"])
async def test_no_proxy_is_obeyed(
    plain: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv(name, value.format(port=plain))
    await talk(f"ws://localhost:{plain}")
    assert proxy.asked == []


async def test_what_is_given_outdoes_the_environment(
    plain: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    await talk(f"ws://127.0.0.1:{plain}", proxy=f"http://127.0.0.1:{proxy.port}")
    assert len(proxy.asked) == 1
    monkeypatch.delenv("NO_PROXY")
    await talk(f"ws://127.0.0.1:{plain}", proxy="")
    assert len(proxy.asked) == 1


async def test_a_proxy_that_refuses_is_a_failed_connection(plain: int, proxy: Proxy) -> None:
    proxy.status = "407 Proxy Authentication Required"
    with pytest.raises(ConnectFailed, match="407") as raised:
        await talk(f"ws://localhost:{plain}", proxy=f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}")
    assert f"through the proxy 127.0.0.1:{proxy.port}" in str(raised.value)
    assert PASSWORD not in f"{raised.value!r} {raised.value.__cause__!r}"
    await proxy.left.wait()


async def test_a_proxy_that_is_not_there_is_a_failed_connection(plain: int, unused_tcp_port: int) -> None:
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{unused_tcp_port}") as raised:
        await talk(f"ws://localhost:{plain}", proxy=f"http://user:{PASSWORD}@127.0.0.1:{unused_tcp_port}")
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_dial_cancelled_at_the_proxy_leaves_nothing(plain: int, proxy: Proxy, scheme: str) -> None:
    proxy.status = "silence"
    before = asyncio.all_tasks()
    silent = await asyncio.start_server(proxy.serve if scheme == "http" else hold(proxy), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with silent:
        dialling = asyncio.ensure_future(
            talk(f"ws://localhost:{plain}", proxy=f"{scheme}://127.0.0.1:{port}")
        )
        await proxy.reached.wait()
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await proxy.left.wait()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def hold(proxy: Proxy) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        proxy.reached.set()
        await reader.read()
        writer.close()
        proxy.left.set()

    return serve
