"""HTTP through SOCKS: refusals, time limits, cancellation, and connections that the server closes."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator

import pytest

import trunkline
from trunkline import Deadlines, Policy
from trunkline.emulator import Emulator

from ..proxy import Proxy
from ..talk import ask, client_of

pytestmark = pytest.mark.usefixtures("no_proxy")

ONCE = Policy(max_attempts=1)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.mark.parametrize(("package", "requirement"), [("picows", "python-socks"), ("httpx2", "httpcore2")])
def test_the_dependencies_require_the_packages_that_socks_needs(package: str, requirement: str) -> None:
    required = importlib.metadata.requires(package) or []
    assert any(line.startswith(requirement) and "extra ==" not in line for line in required)


async def test_names_are_resolved_at_the_proxy(emulator: Emulator, proxy: Proxy) -> None:
    base_url = emulator.base_url.replace("127.0.0.1", "nowhere.invalid")
    options = {"base_url": base_url, "proxy": f"socks5://127.0.0.1:{proxy.port}"}
    async with client_of(emulator, transport="http", **options) as client:
        await ask(client.conversation(model="echo"), "hello")
    assert proxy.asked[0].startswith("nowhere.invalid:")


async def test_a_connection_that_the_server_has_closed_is_not_used_again(
    emulator: Emulator, proxy: Proxy
) -> None:
    url = f"socks5://127.0.0.1:{proxy.port}"
    async with client_of(emulator, transport="http", proxy=url, policy=ONCE) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await proxy.close_connections()
        await ask(chat, "two")
    assert len(proxy.asked) == 2


async def test_the_refusal_of_a_proxy_is_quoted(emulator: Emulator, proxy: Proxy) -> None:
    proxy.socks_reply = 2
    url = f"socks5://127.0.0.1:{proxy.port}"
    async with client_of(emulator, transport="http", proxy=url, policy=ONCE) as client:
        with pytest.raises(trunkline.ConnectFailed, match="not allowed by ruleset") as raised:
            await ask(client.conversation(model="echo"), "hello")
    assert f"through the proxy 127.0.0.1:{proxy.port}" in str(raised.value)
    assert not raised.value.sent


async def test_a_failure_of_tls_behind_the_proxy_is_named(emulator: Emulator, proxy: Proxy) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    where = f"localhost:{server.sockets[0].getsockname()[1]}"
    options = {"base_url": f"https://{where}/v1", "proxy": f"socks5://127.0.0.1:{proxy.port}"}
    problem = f"the TLS handshake with {where} through the proxy 127.0.0.1:{proxy.port} failed"
    async with server, client_of(emulator, transport="http", policy=ONCE, **options) as client:
        with pytest.raises(trunkline.ConnectFailed, match=problem) as raised:
            await ask(client.conversation(model="echo"), "hello")
    assert not raised.value.sent


async def test_a_proxy_without_an_address_is_named(emulator: Emulator) -> None:
    problem = r"'nowhere\.invalid' could not be resolved"
    url = "socks5://nowhere.invalid:1080"
    async with client_of(emulator, transport="http", proxy=url, policy=ONCE) as client:
        with pytest.raises(trunkline.ConnectFailed, match=problem) as raised:
            await ask(client.conversation(model="echo"), "hello")
    assert not raised.value.sent


async def test_a_proxy_that_hangs_up_is_a_failed_connection(emulator: Emulator) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    problem = r"cannot connect to .* through the proxy"
    url = f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client_of(emulator, transport="http", proxy=url, policy=ONCE) as client:
        with pytest.raises(trunkline.ConnectFailed, match=problem) as raised:
            await ask(client.conversation(model="echo"), "hello")
    assert not raised.value.sent


async def test_a_silent_proxy_is_a_failed_connection(emulator: Emulator, proxy: Proxy) -> None:
    proxy.status = "silence"
    options = {"proxy": f"socks5://127.0.0.1:{proxy.port}", "deadlines": Deadlines(connect=0.2)}
    async with client_of(emulator, transport="http", policy=ONCE, **options) as client:
        with pytest.raises(trunkline.NetworkError, match=r"through the proxy .* within 0.2 s") as raised:
            await ask(client.conversation(model="echo"), "hello")
    assert not raised.value.sent


async def test_a_turn_can_be_closed_while_the_proxy_is_silent(emulator: Emulator, proxy: Proxy) -> None:
    proxy.status = "silence"
    url = f"socks5://127.0.0.1:{proxy.port}"
    async with client_of(emulator, transport="http", proxy=url, deadlines=Deadlines(connect=None)) as client:
        turn = asyncio.ensure_future(ask(client.conversation(model="echo"), "hello"))
        await proxy.reached.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        await proxy.left.wait()
