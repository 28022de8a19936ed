"""The network without sockets and the clock without time, on their own and under a client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import trunkline
from trunkline import ConnectFailed, ConnectionLost, DeadlineExceeded, Deadlines, Policy, ProtocolViolation
from trunkline.emulator import FakeClock, FakeNetwork, FakeSocket

from ..waiting import soon, until

# The clock.


def test_the_clock_stands_still_until_it_is_moved_on() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock() == clock.now == 5.0
    clock.advance(2.5)
    assert clock() == 7.5
    assert repr(clock) == "<FakeClock at 7.5 s>"


def test_timers_fire_each_at_its_time_and_in_order() -> None:
    clock, fired = FakeClock(0.0), list[tuple[str, float]]()

    def note(name: str) -> None:
        fired.append((name, clock()))

    for name, delay_s in (("late", 3.0), ("early", 1.0), ("also early", 1.0), ("past", -1.0)):
        clock.call_later(delay_s, lambda name=name: note(name))  # type: ignore[misc]
    clock.advance(2.0)
    assert fired == [("past", 0.0), ("early", 1.0), ("also early", 1.0)]
    clock.advance(1.0)
    assert fired[3:] == [("late", 3.0)]


def test_a_timer_that_is_cancelled_does_not_fire_and_none_fires_twice() -> None:
    clock, fired = FakeClock(), list[str]()
    cancelled = clock.call_later(1.0, lambda: fired.append("cancelled"))
    timer = clock.call_later(1.0, lambda: fired.append("timer"))
    cancelled.cancel()
    clock.advance(1.0)
    timer.fire()
    assert fired == ["timer"]


def test_a_timer_may_plan_another_one() -> None:
    clock, fired = FakeClock(0.0), list[float]()

    def tick() -> None:
        fired.append(clock())
        clock.call_later(1.0, tick)

    clock.call_later(1.0, tick)
    clock.advance(3.5)
    assert (fired, clock()) == ([1.0, 2.0, 3.0], 3.5)


# Sockets.


class Receiver:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ends: list[ConnectionLost | ProtocolViolation] = []

    def on_message(self, payload: bytes) -> None:
        self.messages.append(payload)

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        self.ends.append(error)


async def dialled(network: FakeNetwork) -> tuple[FakeSocket, Receiver]:
    receiver = Receiver()
    return await network.dial("ws://fake", headers={"A": "b"}, receiver=receiver), receiver


async def test_a_socket_shows_what_was_sent_and_brings_what_is_received() -> None:
    network = FakeNetwork()
    socket, receiver = await dialled(network)
    assert network.sockets == [socket]
    assert (socket.url, socket.headers, socket.is_open) == ("ws://fake", {"A": "b"}, True)
    socket.send(b'{"type":"x"}')
    socket.receive({"n": 1}, {"n": 2})
    assert socket.sent == [{"type": "x"}]
    assert receiver.messages == [b'{"n": 1}', b'{"n": 2}']
    assert repr(socket) == "<FakeSocket open: 1 frames sent>"


async def test_an_answer_comes_after_the_request_was_sent() -> None:
    network = FakeNetwork(lambda request: [{"to": request["n"]}, {"again": request["n"]}])
    socket, receiver = await dialled(network)
    socket.send(b'{"n":7}')
    assert receiver.messages == [], "a socket does not call its receiver while it sends"
    await asyncio.sleep(0)
    assert receiver.messages == [b'{"to": 7}', b'{"again": 7}']


async def test_a_lost_socket_is_reported_once_and_takes_nothing_more() -> None:
    socket, receiver = await dialled(FakeNetwork())
    reason = ConnectionLost("reset", close_code=1006)
    socket.lose(reason)
    socket.lose()
    socket.receive({"n": 1})
    assert (receiver.ends, receiver.messages, socket.is_open) == ([reason], [], False)
    with pytest.raises(ConnectionLost) as refused:
        socket.send(b"{}")
    assert refused.value.sent is False
    await soon(socket.wait_closed())
    assert repr(socket) == "<FakeSocket closed: 0 frames sent>"


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_socket_closed_by_the_client_is_reported_in_a_later_iteration(end: str) -> None:
    socket, receiver = await dialled(FakeNetwork())
    getattr(socket, end)()
    assert (socket.is_open, receiver.ends) == (False, [])
    await soon(socket.wait_closed())
    assert len(receiver.ends) == 1


async def test_a_socket_that_is_dropped_is_not_reported() -> None:
    socket, receiver = await dialled(FakeNetwork())
    socket.drop()
    await soon(socket.wait_closed())
    assert (socket.is_open, receiver.ends) == (False, [])


async def test_dials_wait_while_they_are_held_and_fail_while_they_are_refused() -> None:
    network = FakeNetwork()
    network.hold()
    waiting = asyncio.create_task(dialled(network))
    await asyncio.sleep(0)
    assert network.sockets == []
    network.release()
    await soon(waiting)
    network.refusal = ConnectFailed("no route")
    with pytest.raises(ConnectFailed) as refused:
        await dialled(network)
    assert refused.value is network.refusal
    assert len(network.sockets) == 1


# Under a client.


def answer(request: dict[str, Any]) -> list[Mapping[str, Any]]:
    lane = {"stream_id": request["stream_id"]}
    return [
        {"type": "response.created", "response": {"id": "resp_1"}, **lane},
        {"type": "response.output_text.delta", "delta": "Hello", **lane},
        {"type": "response.completed", "response": {"id": "resp_1"}, **lane},
    ]


def client_over(network: FakeNetwork, clock: FakeClock, **options: Any) -> trunkline.Client:
    world = trunkline.World(clock=clock, wall_clock=clock, call_later=clock.call_later, dial=network.dial)
    given = {"api_key": "k", "base_url": "http://fake/v1", "lanes": True, "transport": "websocket", **options}
    return trunkline.Client(world=world, **given)


async def test_a_client_talks_over_it() -> None:
    network = FakeNetwork(answer)
    async with client_over(network, FakeClock()) as client:
        async with client.conversation(model="m").send("Hi") as stream:
            await stream.finish()
        assert (stream.received_text, stream.metrics.total_s) == ("Hello", 0.0)
    [socket] = network.sockets
    assert socket.url == "ws://fake/v1/responses?model=m"
    assert [request["type"] for request in socket.sent] == ["response.create"]
    assert not socket.is_open


async def test_a_socket_that_is_lost_before_output_costs_a_second_attempt() -> None:
    network = FakeNetwork()
    async with client_over(network, FakeClock()) as client:
        chat = client.conversation(model="m")
        asking = asyncio.create_task(chat.run("Hi"))
        await until(lambda: bool(network.sockets and network.sockets[0].sent), "the request is sent")
        network.answer = answer
        network.sockets[0].lose()
        assert (await soon(asking)).id == "resp_1"
    assert [len(socket.sent) for socket in network.sockets] == [1, 1]


async def test_a_deadline_of_minutes_passes_at_once() -> None:
    network, clock = FakeNetwork(), FakeClock()
    once = Policy(max_attempts=1)
    deadlines = Deadlines(first_event=300.0)
    async with client_over(network, clock, policy=once, deadlines=deadlines) as client:
        asking = asyncio.create_task(client.conversation(model="m").run("Hi"))
        await until(lambda: bool(network.sockets and network.sockets[0].sent), "the request is sent")
        clock.advance(299.0)
        await asyncio.sleep(0)
        assert not asking.done()
        clock.advance(2.0)
        with pytest.raises(DeadlineExceeded) as passed:
            await soon(asking)
        assert passed.value.phase == "first_event"
