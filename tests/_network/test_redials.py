"""Dials of a server that cannot be reached: repeated together, one at a time, until the deadline."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import pytest
import trustme

import trunkline
from trunkline import ConnectFailed, ConnectionLost, Deadlines, Policy, UpgradeRefused
from trunkline._network.redials import UNREACHED, Redials
from trunkline._network.world import Timer, World
from trunkline.emulator import Emulator, FakeClock
from trunkline.errors import ConnectFault

from ..talk import ask, client_of
from ..waiting import TIME_SCALE, runs_briefly, soon


class Time:
    """A clock that timers move on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.world = World(clock=lambda: self.now, call_later=self._call_later, random=lambda: 1.0)

    def _call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        self.now += delay_s
        return asyncio.get_running_loop().call_soon(callback)


class Refusing:
    """A server that is not reached before a time."""

    def __init__(self, time: Time, until: float, fault: ConnectFault = "unreachable") -> None:
        self.time = time
        self.until = until
        self.fault = fault
        self.dials: list[float] = []

    async def dial(self) -> str:
        self.dials.append(self.time.now)
        await asyncio.sleep(0)
        if self.time.now < self.until:
            raise ConnectFailed("refused", fault=self.fault)
        return "a socket"


@pytest.mark.parametrize("fault", ["unreachable", "cut"])
async def test_a_dial_is_repeated_until_the_server_is_back(fault: ConnectFault) -> None:
    time = Time()
    server = Refusing(time, 103.0, fault)
    told: list[ConnectFailed] = []
    redials = Redials(time.world)
    made = await redials.connect(server.dial, 110.0, repeats=UNREACHED, on_refusal=told.append)
    assert made == "a socket"
    assert server.dials == [100.0, 100.25, 100.75, 101.75, 102.75, 103.75]
    assert len(told) == len(server.dials) - 1


async def test_the_last_refusal_is_raised_before_the_deadline() -> None:
    time = Time()
    server = Refusing(time, 1e9)
    with pytest.raises(ConnectFailed, match="refused"):
        await Redials(time.world).connect(server.dial, 110.0, repeats=UNREACHED)
    assert 108.0 < server.dials[-1] < 110.0
    assert time.now < 110.0


async def test_other_faults_are_raised_at_once() -> None:
    time = Time()
    server = Refusing(time, 1e9, "final")
    with pytest.raises(ConnectFailed):
        await Redials(time.world).connect(server.dial, None, repeats=UNREACHED)
    assert len(server.dials) == 1


async def test_dials_share_one_backoff_and_go_on_together() -> None:
    time = Time()
    server = Refusing(time, 105.0)
    redials = Redials(time.world)
    waiting = [redials.connect(server.dial, None, repeats=UNREACHED) for _ in range(50)]
    assert await soon(asyncio.gather(*waiting)) == ["a socket"] * 50
    repeated = [at for at in server.dials if 100.0 < at < 105.0]
    assert len(repeated) == len(set(repeated)) == 6, "one dial at a time"


async def test_waiting_dials_end_with_the_refusal_that_they_wait_for() -> None:
    redials = Redials(World())
    clock = World().clock

    async def refused() -> None:
        raise ConnectFailed("refused", fault="unreachable")

    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(ConnectFailed, match="refused"):
        await redials.connect(refused, clock() + 0.01, repeats=UNREACHED)
    scout = asyncio.create_task(redials.connect(hangs, None, repeats=UNREACHED))
    await asyncio.sleep(0)
    with pytest.raises(ConnectFailed, match="refused"):
        await soon(redials.connect(refused, clock() + 0.05, repeats=UNREACHED))
    scout.cancel()
    await asyncio.gather(scout, return_exceptions=True)


async def test_a_refused_upgrade_shows_that_the_server_is_reached() -> None:
    time = Time()
    outcomes: list[Exception] = [
        ConnectFailed("refused", fault="unreachable"),
        UpgradeRefused(503, headers={}),
        ConnectFailed("refused", fault="unreachable"),
    ]

    async def dial() -> str:
        if outcomes:
            raise outcomes.pop(0)
        return "a socket"

    redials = Redials(time.world)
    with pytest.raises(UpgradeRefused):
        await redials.connect(dial, None, repeats=UNREACHED)
    begun = time.now
    assert await redials.connect(dial, None, repeats=UNREACHED) == "a socket"
    assert time.now == begun + 0.25, "the backoff is as short as at first"


# A server that accepts connections and ends them.


class Cutting:
    """Redials to such a server on a clock of the test, and the times of its dials."""

    def __init__(self) -> None:
        self.clock = FakeClock(100.0)
        self.redials = Redials(World(clock=self.clock, call_later=self.clock.call_later, random=lambda: 1.0))
        self.dials: list[float] = []

    async def dial(self) -> str:
        self.dials.append(self.clock())
        return "a socket"

    def connect(self, until: float | None = None) -> asyncio.Task[str]:
        return asyncio.create_task(self.redials.connect(self.dial, until, repeats=UNREACHED))

    async def passes(self, seconds: float) -> None:
        for _ in range(round(seconds * 8)):
            await settle()
            self.clock.advance(0.125)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_dials_of_a_server_that_cuts_begin_one_after_another() -> None:
    server = Cutting()
    for _ in range(20):  # connections that were side by side
        server.redials.cut("there")
    dials = [server.connect() for _ in range(4)]
    await server.passes(5)
    assert server.dials == [100.0, 101.0, 102.0, 103.0]
    assert all(dial.done() for dial in dials)


async def test_the_first_dial_after_a_cut_does_not_wait() -> None:
    server = Cutting()
    server.redials.cut("there")
    first, second = server.connect(), server.connect()
    await settle()
    assert (first.done(), second.done()) == (True, False)
    await server.passes(0.25)
    assert second.done()


async def test_a_dial_that_waits_tells_the_reason() -> None:
    server = Cutting()
    server.redials.cut("there:1")
    told: list[ConnectFailed] = []
    waiting = [
        asyncio.create_task(
            server.redials.connect(server.dial, None, repeats=UNREACHED, on_refusal=told.append)
        )
        for _ in range(2)
    ]
    await settle()
    assert [str(each) for each in told] == ["there:1 ends connections before it answers a request"]
    await server.passes(1)
    await asyncio.gather(*waiting)


async def test_an_answer_ends_the_wait_of_all() -> None:
    server = Cutting()
    server.redials.cut("there")
    dials = [server.connect() for _ in range(10)]
    await settle()
    server.redials.answered()
    await soon(asyncio.gather(*dials))
    assert server.dials == [100.0] * 10
    server.redials.answered()  # nothing waits
    assert await server.connect() == "a socket"


async def test_a_dial_that_is_not_due_before_its_deadline_raises_the_reason_then() -> None:
    server = Cutting()
    for _ in range(3):
        server.redials.cut("there:1")
    await soon(server.connect())
    late = server.connect(until=100.5)
    await server.passes(0.25)
    assert not late.done()
    await server.passes(0.5)
    with pytest.raises(ConnectFailed, match=r"there:1 ends connections before it answers") as raised:
        await soon(late)
    assert raised.value.fault == "cut"
    await server.passes(1)
    assert await soon(server.connect(until=200.0)) == "a socket", "the time was not taken"


async def test_an_answer_before_its_deadline_lets_a_dial_begin_that_was_not_due() -> None:
    server = Cutting()
    for _ in range(3):
        server.redials.cut("there")
    dials = [server.connect(until=102.0) for _ in range(50)]
    await server.passes(1.5)
    server.redials.answered()
    await soon(asyncio.gather(*dials))
    assert len(server.dials) == 50


async def test_a_server_that_cuts_may_also_refuse() -> None:
    server = Cutting()
    server.redials.cut("there")
    refusing = Refusing(Time(), 1e9)

    async def dial() -> str:
        await server.dial()
        return "a socket" if len(server.dials) > 2 else await refusing.dial()

    connecting = asyncio.create_task(server.redials.connect(dial, None, repeats=UNREACHED))
    await server.passes(2)
    assert await connecting == "a socket"
    assert server.dials == [100.0, 100.25, 100.75]


# Whole turns.


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_turns_wait_for_a_server_that_restarts(transport: str) -> None:
    port = free_port()
    later = Emulator("127.0.0.1", port, api_key=None)
    client = trunkline.Client(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="sk-x",
        transport=transport,  # type: ignore[arg-type]
        deadlines=Deadlines(connect=20 * TIME_SCALE, first_event=None),
    )
    async with client:
        asked = [asyncio.create_task(ask(client.conversation(model="echo"), "hello")) for _ in range(5)]
        await asyncio.sleep(0.6)
        await later.start()
        try:
            streams = await soon(asyncio.gather(*asked), within_s=20)
        finally:
            await client.close()
            await later.stop()
    way = "http" if transport == "http" else "websocket"
    assert {(each.metrics.transport, each.metrics.attempts) for each in streams} == {(way, 1)}


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_a_refused_port_is_named_when_the_deadline_ends(transport: str) -> None:
    client = trunkline.Client(
        base_url=f"http://127.0.0.1:{free_port()}/v1",
        api_key="sk-x",
        transport=transport,  # type: ignore[arg-type]
        deadlines=Deadlines(connect=runs_briefly(0.5)),
    )
    async with client:
        stream = client.conversation(model="echo").send("hello")
        with pytest.raises(ConnectFailed, match="Connection refused") as failure:
            await soon(_read(stream))
    assert (failure.value.sent, failure.value.fault) == (False, "unreachable")
    assert stream.metrics.attempts == 1


async def _read(stream: trunkline.ResponseStream) -> None:
    async with stream:
        await stream.finish()


@pytest.mark.parametrize("transport", ["auto", "http"])
async def test_callers_with_retries_of_their_own_do_not_wait(transport: str) -> None:
    client = trunkline.Client(
        base_url=f"http://127.0.0.1:{free_port()}/v1",
        api_key="sk-x",
        transport=transport,  # type: ignore[arg-type]
        deadlines=Deadlines(connect=None, first_event=None),
        policy=Policy(waits=False),
    )
    async with client:
        with pytest.raises(ConnectFailed, match="Connection refused"):
            await soon(ask(client.conversation(model="echo"), "hello"))


async def test_a_resolver_that_does_not_answer_is_tried_again(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    resolve, failures = loop.getaddrinfo, [socket.EAI_AGAIN]

    async def flaky(*where: object, **options: object) -> object:
        if failures:
            raise socket.gaierror(failures.pop(), "Temporary failure in name resolution")
        return await resolve(*where, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "getaddrinfo", flaky)
    async with client_of(emulator) as client:
        stream = await ask(client.conversation(model="echo"), "hello")
    assert not failures
    assert (stream.metrics.transport, stream.metrics.attempts) == ("websocket", 1)


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_an_unknown_name_is_final(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()

    async def unknown(*where: object, **options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(loop, "getaddrinfo", unknown)
    client = trunkline.Client(base_url="https://api.example/v1", api_key="sk-x", transport=transport)  # type: ignore[arg-type]
    async with client:
        stream = client.conversation(model="echo").send("hello")
        with pytest.raises(ConnectFailed, match=r"'api\.example' could not be resolved") as failure:
            await soon(_read(stream))
    assert (failure.value.sent, failure.value.fault) == (False, "final")
    assert stream.metrics.attempts == 1


async def test_when_http_fails_too_the_reason_of_the_websocket_is_the_cause() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET "):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    base_url, policy = f"http://127.0.0.1:{port}/v1", Policy(max_attempts=2)
    async with server, trunkline.Client(base_url=base_url, api_key="sk-x", policy=policy) as client:
        with pytest.raises(ConnectionLost) as failure:
            await soon(ask(client.conversation(model="m"), "hello"))
    assert isinstance(failure.value.__cause__, UpgradeRefused)


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_a_certificate_that_is_not_trusted_is_final(transport: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    # The server reports the handshakes that the client has ended.
    asyncio.get_running_loop().set_exception_handler(lambda loop, report: None)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, trunkline.Client(base_url=base_url, api_key="sk-x", transport=transport) as client:  # type: ignore[arg-type]
        stream = client.conversation(model="m").send("hello")
        with pytest.raises(
            ConnectFailed, match=r"TLS certificate of 127\.0\.0\.1:\d+ is not trusted"
        ) as failure:
            await soon(_read(stream))
    assert (failure.value.sent, failure.value.fault, stream.metrics.attempts) == (False, "final", 1)
