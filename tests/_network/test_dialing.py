"""Routes, the race of addresses, and the proxies' spellings."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline._network import dialing
from trunkline._network.dialing import Route, connect, discard, route_to
from trunkline.errors import ConnectFailed

pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.mark.parametrize(
    ("url", "target", "secure"),
    [
        ("ws://example.org", "example.org:80", False),
        ("wss://example.org/v1/responses?a=b", "example.org:443", True),
        ("WSS://Example.ORG:8443", "example.org:8443", True),
        ("ws://[::1]:8080/x", "[::1]:8080", False),
    ],
)
def test_the_straight_way(url: str, target: str, secure: bool) -> None:
    route = route_to(url, None)
    assert str(route) == route.target == target
    assert (route.secure, route.proxy, route.secure_proxy) == (secure, None, False)
    assert dialing._authority(route.host, route.port) == target


@pytest.mark.parametrize(
    ("proxy", "normal", "host", "port", "secure"),
    [
        ("proxy.example", "http://proxy.example", "proxy.example", 80, False),
        ("proxy.example:3128", "http://proxy.example:3128", "proxy.example", 3128, False),
        ("http://u:p@proxy.example:3128/", "http://u:p@proxy.example:3128", "proxy.example", 3128, False),
        ("HTTPS://proxy.example", "https://proxy.example", "proxy.example", 443, True),
        ("socks5://proxy.example", "socks5://proxy.example:1080", "proxy.example", 1080, False),
        ("socks5h://u:p@proxy.example", "socks5://u:p@proxy.example:1080", "proxy.example", 1080, False),
        ("socks4://[::1]", "socks4://[::1]:1080", "::1", 1080, False),
        ("socks5://[::1]:9", "socks5://[::1]:9", "::1", 9, False),
    ],
)
def test_proxies_may_be_written_in_many_ways(
    proxy: str, normal: str, host: str, port: int, secure: bool
) -> None:
    route = route_to("ws://example.org", proxy)
    assert (route.proxy, route.host, route.port, route.secure_proxy) == (normal, host, port, secure)
    assert str(route) == f"example.org:80 through the proxy {dialing._authority(host, port)}"


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://u:secret@example.org", None),
        ("ws:///secret", None),
        ("ws://example.org:secret", None),
        ("ws://[secret", None),
        ("ws://example.org", "ftp://u:secret@proxy.example"),
        ("ws://example.org", "http://u:secret@"),
        ("ws://example.org", "http://u@proxy.example:secret"),
        ("ws://example.org", "socks5://"),
    ],
)
def test_what_cannot_be_dialled_is_refused_without_being_quoted(url: str, proxy: str | None) -> None:
    with pytest.raises(ConnectFailed) as raised:
        route_to(url, proxy)
    assert "secret" not in f"{raised.value} {raised.value.__cause__!r}"


def straight(host: str, port: int) -> Route:
    return Route(f"{host}:{port}", host, port, None, False, False)


async def test_a_name_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConnectFailed, match=r"nowhere\.invalid"):
        await connect(straight("nowhere.invalid", 80))
    with pytest.raises(ConnectFailed, match="could not be resolved"):
        await connect(straight("a..b", 80))


async def test_a_port_where_nobody_listens_is_named(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{unused_tcp_port}.*refused"):
        await connect(straight("127.0.0.1", unused_tcp_port))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address that never answers: a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock:
        callers = []
        while True:
            caller = socket.socket()
            callers.append(caller)
            caller.settimeout(0.05)
            try:
                caller.connect(sock.getsockname())
            except TimeoutError:
                break
        yield sock.getsockname()
        for caller in callers:
            caller.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *where: tuple[str, int]) -> None:
    async def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in where]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_the_next_address_is_tried_when_one_refuses(
    listening: socket.socket, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "HEAD_START_S", 3600)
    resolve_to(monkeypatch, ("127.0.0.1", unused_tcp_port), listening.getsockname())
    with await connect(straight("both", 80)) as sock:
        assert sock.getpeername() == listening.getsockname()


async def test_the_next_address_joins_when_one_does_not_answer(
    listening: socket.socket, deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "HEAD_START_S", 0.01)
    before = others()
    resolve_to(monkeypatch, deaf, listening.getsockname())
    with await connect(straight("both", 80)) as sock:
        assert sock.getpeername() == listening.getsockname()
    assert others() == before


async def test_a_second_winner_is_closed(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both attempts end in one turn of the loop; whoever comes second leaves no socket."""
    monkeypatch.setattr(dialing, "HEAD_START_S", 0)
    made: list[socket.socket] = []
    release = asyncio.Event()

    async def connect_to(address: dialing.Address) -> socket.socket:
        await release.wait()
        made.append(socket.create_connection(listening.getsockname()))
        return made[-1]

    monkeypatch.setattr(dialing, "_connect_to", connect_to)
    resolve_to(monkeypatch, listening.getsockname(), listening.getsockname())
    connecting = asyncio.ensure_future(connect(straight("both", 80)))
    while len(others()) < 3:
        await asyncio.sleep(0)
    release.set()
    winner = await connecting
    await asyncio.sleep(0)
    assert len(made) == 2
    assert [sock.fileno() == -1 for sock in made].count(True) == 1
    assert winner.fileno() != -1
    winner.close()


async def test_cancelling_the_race_leaves_nothing(
    deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "HEAD_START_S", 0)
    before = others()
    resolve_to(monkeypatch, deaf, deaf)
    connecting = asyncio.ensure_future(connect(straight("deaf", 80)))
    while len(others()) < len(before) + 3:
        await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert others() == before


def test_families_take_turns() -> None:
    def address(family: int, name: str) -> dialing.Address:
        return (family, socket.SOCK_STREAM, 6, "", (name, 1))

    six, four = int(socket.AF_INET6), int(socket.AF_INET)
    given = [address(six, "a"), address(six, "b"), address(six, "c"), address(four, "d")]
    assert [entry[4][0] for entry in dialing._interleaved(given)] == ["a", "d", "b", "c"]


async def test_discarding_a_socket_ends_its_transport_and_drops_what_had_arrived() -> None:
    ours, theirs = socket.socketpair()
    arrived = []

    class Listener(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            arrived.append(data)

    await asyncio.get_running_loop().create_connection(Listener, sock=ours)
    with theirs:
        theirs.send(b"too late")
        await discard(ours)
        assert ours.fileno() == -1
        assert arrived == []
        assert theirs.recv(1) == b""
