"""Proxies and certificates: the same for both transports."""

from __future__ import annotations

import gc
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

import trunkline
from trunkline._network.websocket import default_ssl_context
from trunkline.emulator import Emulator

from ..proxy import Proxy
from ..talk import ask, client_of

pytestmark = pytest.mark.usefixtures("no_proxy")

PASSWORD = "pass-0123456789"
ONCE = trunkline.Policy(max_attempts=1)


@pytest.fixture(params=["http", "websocket"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def secure_url(emulator: Emulator, certified: ssl.SSLContext) -> AsyncIterator[str]:
    """The URL of the emulator behind TLS."""
    front = Proxy(always_to=port_of(emulator))
    await front.start(certified)
    yield f"https://localhost:{front.port}/v1"
    await front.stop()


def port_of(emulator: Emulator) -> int:
    port = urlsplit(emulator.base_url).port
    assert port is not None
    return port


def destination(url: str) -> str:
    return urlsplit(url).netloc


async def talk(emulator: Emulator, transport: str, *, turns: int = 1, **options: Any) -> None:
    """Take turns over one transport."""
    async with client_of(emulator, transport=transport, policy=ONCE, **options) as client:
        chat = client.conversation(model="echo")
        for number in range(turns):
            stream = await ask(chat, f"hello {number}")
            assert f"hello {number}" in stream.response.output_text
            assert stream.metrics.transport == transport


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "SOCKS5", "socks4"])
async def test_each_kind_of_proxy_is_used(
    emulator: Emulator, proxy: Proxy, transport: str, scheme: str
) -> None:
    await talk(emulator, transport, turns=2, proxy=f"{scheme}://127.0.0.1:{proxy.port}")
    assert proxy.asked == [destination(emulator.base_url)]  # one connection for both turns


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_tls_goes_through_each_kind_of_proxy(
    emulator: Emulator,
    secure_url: str,
    trusting: ssl.SSLContext,
    proxy: Proxy,
    transport: str,
    scheme: str,
) -> None:
    url = f"{scheme}://127.0.0.1:{proxy.port}"
    await talk(emulator, transport, ssl_context=trusting, base_url=secure_url, proxy=url)
    assert proxy.asked == [destination(secure_url)]


async def test_a_proxy_that_speaks_tls_is_verified_with_the_given_context(
    emulator: Emulator, certified: ssl.SSLContext, trusting: ssl.SSLContext, transport: str
) -> None:
    proxy = Proxy()
    await proxy.start(certified)
    try:
        await talk(emulator, transport, ssl_context=trusting, proxy=f"https://localhost:{proxy.port}")
        assert proxy.asked == [destination(emulator.base_url)]
    finally:
        await proxy.stop()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_the_environment_names_the_proxy(
    emulator: Emulator,
    proxy: Proxy,
    transport: str,
    scheme: str,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, f"{scheme}://127.0.0.1:{proxy.port}")
    await talk(emulator, transport)
    assert proxy.asked == [destination(emulator.base_url)]
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, 127.0.0.0/8")
    await talk(emulator, transport)
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("scheme", ["", "http", "socks5"])
async def test_each_tcp_connection_finds_a_dead_peer(
    emulator: Emulator, proxy: Proxy, transport: Any, scheme: str
) -> None:
    limits = trunkline.PoolLimits(
        keepalive_idle_s=40, keepalive_interval_s=7, keepalive_probes=5, unsent_bytes=12_345
    )
    url = f"{scheme}://127.0.0.1:{proxy.port}" if scheme else ""
    port = proxy.port if scheme else port_of(emulator)
    async with client_of(emulator, transport=transport, proxy=url, limits=limits) as client:
        await ask(client.conversation(model="echo"), "hello")
        (connected,) = [sock for sock in sockets() if sock.getpeername()[1] == port]
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for name, value in {
            "TCP_KEEPIDLE": 40,
            "TCP_KEEPINTVL": 7,
            "TCP_KEEPCNT": 5,
            "TCP_NOTSENT_LOWAT": 12_345,
            "TCP_USER_TIMEOUT": 0,
        }.items():
            assert connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value, name


def sockets() -> list[socket.socket]:
    """The connected sockets of this process."""
    found = []
    for each in gc.get_objects():
        if isinstance(each, socket.socket) and each.fileno() != -1:
            with suppress(OSError):
                each.getpeername()
                found.append(each)
    return found


async def test_the_argument_precedes_the_environment(
    emulator: Emulator, proxy: Proxy, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    await talk(emulator, transport, proxy="")
    assert proxy.asked == []
    monkeypatch.setenv("NO_PROXY", "*")
    await talk(emulator, transport, proxy=f"http://127.0.0.1:{proxy.port}")
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4"])
async def test_a_proxy_that_cannot_be_reached_is_a_failed_connection(
    emulator: Emulator,
    transport: str,
    scheme: str,
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{PASSWORD}@127.0.0.1:{unused_tcp_port}")
    with pytest.raises(trunkline.ConnectFailed, match=f"the proxy 127.0.0.1:{unused_tcp_port}") as raised:
        # A dial that does not reach the proxy is repeated until this deadline.
        await talk(emulator, transport, deadlines=trunkline.Deadlines(connect=0.5))
    assert "Connection refused" in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert not raised.value.sent


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_proxy_that_wants_credentials_is_a_failed_connection(
    emulator: Emulator, secure_url: str, proxy: Proxy, transport: str, is_secure: bool
) -> None:
    proxy.status = "407 Proxy Authentication Required"
    base_url = secure_url if is_secure else emulator.base_url
    url = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}"
    where = rf"through the proxy 127\.0\.0\.1:{proxy.port}.*407"
    with pytest.raises(trunkline.ConnectFailed, match=where) as raised:
        await talk(emulator, transport, base_url=base_url, proxy=url)
    assert PASSWORD not in str(raised.value)
    assert not raised.value.sent


async def test_a_proxy_of_an_unknown_kind_is_named_by_its_variables(
    emulator: Emulator, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"ftp://user:{PASSWORD}@127.0.0.1:1")
    with pytest.raises(
        trunkline.ConnectFailed, match="in HTTP_PROXY or ALL_PROXY has the scheme 'ftp'"
    ) as raised:
        await talk(emulator, transport)
    assert PASSWORD not in str(raised.value)


async def test_a_missing_package_for_socks_is_named(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "trunkline._network.socks", raising=False)
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(trunkline.ConnectFailed) as raised:
        await talk(emulator, "http", proxy=f"socks5://user:{PASSWORD}@localhost:1080")
    assert "SOCKS proxy localhost:1080 needs the package python_socks; install it" in str(raised.value)
    assert not raised.value.sent


async def test_ssl_cert_file_names_the_authorities(
    emulator: Emulator,
    secure_url: str,
    authority: trustme.CA,
    transport: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    default_ssl_context.cache_clear()
    try:
        await talk(emulator, transport, base_url=secure_url)
        await talk(emulator, transport, base_url=secure_url, proxy="")
    finally:
        default_ssl_context.cache_clear()
