"""Connections are replaced before they expire, without losing a turn, also if the server closes early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import trunkline
from trunkline import Cause, ConnectionLost, PoolLimits
from trunkline.emulator import Emulator, FakeClock, FakeNetwork
from trunkline.emulator.pace import Pace

from .talk import Timing, ask, assert_kept, client_of, first_text
from .waiting import soon, until

AGE_S = 3300.0
LIMITS = PoolLimits(max_age_s=AGE_S, age_jitter_s=120.0, upkeep_s=Timing.UPKEEP_S)


class Aging:
    """A client whose clock and upkeep are controlled by the test."""

    def __init__(self, client: trunkline.Client, timing: Timing) -> None:
        self.client = client
        self.timing = timing

    def grow_older(self, seconds: float) -> None:
        """Advance the clock."""
        self.timing.now += seconds

    def look_after(self) -> None:
        """Run the periodic upkeep once."""
        self.timing.keep_up()

    async def settled(self) -> None:
        """Wait until no connection is being replaced."""
        await until(lambda: not self.client.state().replacing, "all replacements have ended")

    async def pass_by(self, seconds: float) -> None:
        """Advance the clock, run the upkeep and wait for the replacements."""
        self.grow_older(seconds)
        self.look_after()
        await self.settled()


@pytest.fixture
async def aging(emulator: Emulator) -> AsyncIterator[Aging]:
    timing = Timing()
    async with client_of(emulator, limits=LIMITS, world=timing.world) as client:
        yield Aging(client, timing)


async def test_a_young_connection_is_kept(emulator: Emulator, aging: Aging) -> None:
    await ask(aging.client.conversation(model="echo"), "hello")
    await aging.pass_by(AGE_S - 121)
    assert (emulator.handshakes, aging.client.metrics.rotations) == (1, 0)


async def test_an_old_connection_is_replaced_before_the_next_turn_and_closed(
    emulator: Emulator, aging: Aging
) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    await aging.pass_by(AGE_S)
    assert (emulator.handshakes, aging.client.metrics.rotations) == (2, 1)
    await until(lambda: len(emulator.live_connections) == 1, "the old one is closed")
    stream = await ask(chat, "two")
    assert (stream.metrics.connection, stream.metrics.attempts) == (2, 1)
    assert emulator.handshakes == 2, "no turn waited for a dial"
    assert_kept(emulator, chat, stream.response)


async def test_connections_opened_together_are_not_replaced_together(
    emulator: Emulator, aging: Aging
) -> None:
    aging.timing.random = iter([number / 12 for number in range(12)]).__next__
    await aging.client.warm(model="echo", connections=12)
    aging.timing.random = lambda: 0.0
    await aging.pass_by(AGE_S - 55.0)
    assert aging.client.metrics.rotations == 6


async def test_a_replaced_connection_takes_no_new_turns_and_finishes_its_answers(
    emulator: Emulator, aging: Aging
) -> None:
    gate = emulator.faults.hold(event=8, times=2)
    chats = [aging.client.conversation(model="words-40", store=False) for _ in range(3)]
    async with chats[0].send("hello") as one, chats[1].send("hello") as two:
        await first_text(one)
        await first_text(two)
        await aging.pass_by(AGE_S)
        beside = await ask(chats[2], "hello")
        assert beside.metrics.connection == 2
        gate.open()
        for stream in (one, two):
            await stream.finish()
            assert (stream.metrics.connection, stream.metrics.recoveries) == (1, [])
            assert len(stream.received_text.split()) == 40
    await until(lambda: len(emulator.live_connections) == 1, "the old one closes after its last answer")
    for chat in chats:
        stream = await ask(chat, "and now?")
        assert (stream.metrics.connection, stream.metrics.recoveries) == (2, [])
        assert_kept(emulator, chat, stream.response)


async def test_an_old_connection_is_used_until_its_replacement_is_ready(
    emulator: Emulator, aging: Aging
) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    emulator.faults.add("ignore_upgrade")
    aging.grow_older(AGE_S)
    aging.look_after()
    await until(lambda: emulator.handshakes == 2, "the replacement is being made")
    stream = await ask(chat, "two")
    assert (stream.metrics.connection, stream.metrics.mode) == (1, "delta")


async def test_an_old_connection_is_replaced_once_however_often_upkeep_runs(
    emulator: Emulator, aging: Aging
) -> None:
    await ask(aging.client.conversation(model="echo"), "one")
    aging.grow_older(AGE_S)
    for _ in range(10):
        aging.look_after()
    await until(lambda: aging.client.metrics.rotations == 1, "it is replaced")
    aging.look_after()
    assert emulator.handshakes == 2


async def test_a_replacement_that_fails_is_retried(emulator: Emulator, aging: Aging) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    emulator.faults.add("refuse_upgrade", status=503, times=3)
    for _ in range(3):
        await aging.pass_by(AGE_S)
        assert aging.client.metrics.rotations == 0
        assert (await ask(chat, "on")).metrics.connection == 1, "the old connection still serves"
    await aging.pass_by(5)
    assert (aging.client.metrics.rotations, emulator.handshakes) == (1, 5)
    assert_kept(emulator, chat, (await ask(chat, "two")).response)


async def test_a_connection_lost_while_it_is_replaced_loses_no_turn(emulator: Emulator, aging: Aging) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    aging.grow_older(AGE_S)
    aging.look_after()
    await emulator.drop_connections()
    await aging.settled()
    stream = await ask(chat, "two")
    assert_kept(emulator, chat, stream.response)


async def test_closing_during_a_replacement_leaves_nothing(emulator: Emulator, aging: Aging) -> None:
    await ask(aging.client.conversation(model="echo"), "one")
    emulator.faults.add("ignore_upgrade")
    aging.grow_older(AGE_S)
    aging.look_after()
    await until(lambda: emulator.handshakes == 2, "the replacement is being made")
    await soon(aging.client.close(within_s=60))


async def test_upkeep_runs_periodically(emulator: Emulator) -> None:
    limits = PoolLimits(max_age_s=0.0, age_jitter_s=0.0, upkeep_s=0.02)
    async with client_of(emulator, limits=limits) as client:
        await ask(client.conversation(model="echo"), "one")
        await until(lambda: client.metrics.rotations >= 3, "it is replaced several times")


@pytest.mark.parametrize("lanes", [True, False])
async def test_conversations_continue_over_many_rotations(emulator: Emulator, lanes: bool) -> None:
    emulator.pace = Pace(0.0, 2000)
    limits = PoolLimits(max_age_s=0.0, age_jitter_s=0.0, upkeep_s=0.01)
    async with client_of(emulator, lanes=lanes, limits=limits) as client:

        async def talk(store: bool) -> None:
            chat = client.conversation(model="words-20", store=store)
            turns = 0
            while turns < 8 or client.metrics.rotations < 3:
                turns += 1
                stream = await ask(chat, "go on")
                assert stream.metrics.recoveries == []
                assert_kept(emulator, chat, stream.response)

        await soon(asyncio.gather(*(talk(bool(number % 2)) for number in range(8))), within_s=60)


# The server's connection limit.


async def test_a_limit_reached_while_idle_costs_no_attempt() -> None:
    clock = FakeClock()
    async with Emulator(clock=clock) as emulator, client_of(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        clock.now += 3601
        await until(lambda: not emulator.live_connections, "the server has closed it")
        await until(lambda: client.connections == 0, "the client has noticed")
        stream = await ask(chat, "two")
        assert (stream.metrics.attempts, stream.metrics.connection) == (1, 2)
        assert_kept(emulator, chat, stream.response)


@pytest.mark.parametrize("store", [True, False])
async def test_a_request_on_an_expired_connection_is_answered_on_another(store: bool) -> None:
    clock = FakeClock()
    async with Emulator(clock=clock) as emulator, client_of(emulator) as client:
        chat = client.conversation(model="echo", store=store)
        await ask(chat, "one")
        clock.now += 3601  # the request usually arrives before the server's next age check
        stream = await ask(chat, "two")
        assert stream.metrics.recoveries in ([Cause.LIMIT], [])
        assert stream.metrics.connection == 2
        assert stream.metrics.mode == ("delta" if store else "full")
        assert_kept(emulator, chat, stream.response)


async def test_a_limit_in_mid_answer_loses_no_turn_without_output(emulator: Emulator) -> None:
    """One turn is in mid-answer, one has started without output, and one has just been sent."""
    emulator.faults.add("stall", event=8, request=1)
    emulator.faults.add("stall", event=3, request=2)
    async with client_of(emulator) as client:
        spoken, begun, sent = (client.conversation(model="words-40") for _ in range(3))
        async with spoken.send("hello") as speaking:
            await first_text(speaking)
            beginning = asyncio.create_task(ask(begun, "hello"))
            await until(lambda: len(emulator.responses) == 2, "the second has begun")
            emulator.faults.add("connection_limit", request=3, event=1)
            sending = asyncio.create_task(ask(sent, "hello"))
            with pytest.raises(ConnectionLost) as loss:
                await soon(speaking.finish())
        assert loss.value.output_seen
        streams = [await soon(asking) for asking in (beginning, sending)]
        causes = [stream.metrics.recoveries for stream in streams]
        assert causes == [[Cause.CONNECTION], [Cause.LIMIT]]
        for chat, stream in zip((begun, sent), streams, strict=True):
            assert_kept(emulator, chat, stream.response)


async def test_after_a_limit_a_running_response_may_still_finish() -> None:
    """A server that reports the limit need not close the connection immediately."""
    network = FakeNetwork()
    world = trunkline.World(dial=network.dial)
    async with trunkline.Client(api_key="k", base_url="http://fake/v1", lanes=True, world=world) as client:
        async with client.conversation(model="m").send("hello") as stream:
            first = network.sockets[0]
            lane = {"stream_id": first.sent[0]["stream_id"]}
            first.receive({"type": "response.created", "response": {"id": "r1"}, **lane})
            first.receive({"type": "response.output_text.delta", "delta": "Hello", **lane})
            assert await first_text(stream) == "Hello"
            error = {"code": "websocket_connection_limit_reached"}
            first.receive({"type": "error", "status": 400, "error": error})
            async with client.conversation(model="m").send("hello") as other:
                assert other.metrics.connection == 2
            assert first.is_open
            first.receive({"type": "response.completed", "response": {"id": "r1"}, **lane})
            await stream.finish()
        assert (stream.metrics.connection, stream.metrics.attempts) == (1, 1)
        assert not first.is_open, "the connection closes after its last answer"
