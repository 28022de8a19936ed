"""TCP connections: the race of addresses, and sockets that are discarded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline._network import tcp
from trunkline._network.route import Route
from trunkline._network.tcp import Address, connect, discard, interleaved
from trunkline.errors import ConnectFailed

from ..waiting import until

pytestmark = pytest.mark.usefixtures("no_proxy")


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
    monkeypatch.setattr(tcp, "HEAD_START_S", 3600)
    resolve_to(monkeypatch, ("127.0.0.1", unused_tcp_port), listening.getsockname())
    with await connect(straight("both", 80)) as sock:
        assert sock.getpeername() == listening.getsockname()


async def test_the_next_address_joins_when_one_does_not_answer(
    listening: socket.socket, deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HEAD_START_S", 0.01)
    before = others()
    resolve_to(monkeypatch, deaf, listening.getsockname())
    with await connect(straight("both", 80)) as sock:
        assert sock.getpeername() == listening.getsockname()
    assert others() == before


async def test_a_second_winner_is_closed(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both attempts succeed in one iteration of the event loop."""
    monkeypatch.setattr(tcp, "HEAD_START_S", 0)
    made: list[socket.socket] = []
    release = asyncio.Event()

    async def sock_connect(sock: socket.socket, where: Any) -> None:
        made.append(sock)
        await release.wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    resolve_to(monkeypatch, listening.getsockname(), listening.getsockname())
    connecting = asyncio.ensure_future(connect(straight("both", 80)))
    await until(lambda: len(made) == 2, "both addresses are tried")
    release.set()
    winner = await connecting
    await until(lambda: any(sock.fileno() == -1 for sock in made), "the loser is closed")
    assert [sock for sock in made if sock.fileno() != -1] == [winner]
    winner.close()


async def test_cancelling_the_race_leaves_nothing(
    deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HEAD_START_S", 0)
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
    def address(family: int, name: str) -> Address:
        return (family, socket.SOCK_STREAM, 6, "", (name, 1))

    six, four = int(socket.AF_INET6), int(socket.AF_INET)
    given = [address(six, "a"), address(six, "b"), address(six, "c"), address(four, "d")]
    assert [entry[4][0] for entry in interleaved(given)] == ["a", "d", "b", "c"]


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
