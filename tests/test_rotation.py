"""Connections are replaced before their hour is over, and nobody notices; also when it is over early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import trunkline
from trunkline import Cause, ConnectionLost, PoolLimits
from trunkline.emulator import Emulator, FakeNetwork
from trunkline.emulator.pace import Pace

from .talk import Timing, ask, assert_kept, client_of, first_text
from .waiting import soon, until

AGE_S = 3300.0
LIMITS = PoolLimits(max_age_s=AGE_S, age_jitter_s=120.0, upkeep_s=Timing.UPKEEP_S)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Aging:
    """A client whose connections grow old when the test says so, and then are looked after."""

    def __init__(self, client: trunkline.Client, timing: Timing) -> None:
        self.client = client
        self.timing = timing

    def grow_older(self, seconds: float) -> None:
        """Time passes."""
        self.timing.now += seconds

    def look_after(self) -> None:
        """What is done every few seconds."""
        self.timing.keep_up()

    async def settled(self) -> None:
        """Wait until no connection is being replaced."""
        await until(lambda: not self.client.state().replacing, "what was begun is done")

    async def pass_by(self, seconds: float) -> None:
        """Time passes, and what was begun for it is done."""
        self.grow_older(seconds)
        self.look_after()
        await self.settled()


@pytest.fixture
async def aging(emulator: Emulator) -> AsyncIterator[Aging]:
    timing = Timing()
    async with client_of(emulator, limits=LIMITS, world=timing.world) as client:
        yield Aging(client, timing)


async def test_a_young_connection_stays(emulator: Emulator, aging: Aging) -> None:
    await ask(aging.client.conversation(model="echo"), "hello")
    await aging.pass_by(AGE_S - 121)
    assert (emulator.handshakes, aging.client.metrics.rotations) == (1, 0)


async def test_an_old_one_is_replaced_before_it_is_needed_and_closes(
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


async def test_connections_that_were_made_together_do_not_end_together(
    emulator: Emulator, aging: Aging
) -> None:
    aging.timing.random = iter([number / 12 for number in range(12)]).__next__
    await aging.client.warm(model="echo", connections=12)
    aging.timing.random = lambda: 0.0
    await aging.pass_by(AGE_S - 55.0)
    assert aging.client.metrics.rotations == 6


async def test_the_old_one_takes_no_new_turns_and_finishes_its_answers(
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


async def test_it_is_still_used_until_its_replacement_is_there(emulator: Emulator, aging: Aging) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    emulator.faults.add("ignore_upgrade")
    aging.grow_older(AGE_S)
    aging.look_after()
    await until(lambda: emulator.handshakes == 2, "the replacement is being made")
    stream = await ask(chat, "two")
    assert (stream.metrics.connection, stream.metrics.mode) == (1, "delta")


async def test_it_is_replaced_once_however_often_one_looks(emulator: Emulator, aging: Aging) -> None:
    await ask(aging.client.conversation(model="echo"), "one")
    aging.grow_older(AGE_S)
    for _ in range(10):
        aging.look_after()
    await until(lambda: aging.client.metrics.rotations == 1, "it is replaced")
    aging.look_after()
    assert emulator.handshakes == 2


async def test_a_replacement_that_cannot_be_made_is_tried_again(emulator: Emulator, aging: Aging) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    emulator.faults.add("refuse_upgrade", status=503, times=3)
    for _ in range(3):
        await aging.pass_by(AGE_S)
        assert aging.client.metrics.rotations == 0
        assert (await ask(chat, "on")).metrics.connection == 1, "the old one still serves"
    await aging.pass_by(5)
    assert (aging.client.metrics.rotations, emulator.handshakes) == (1, 5)
    assert_kept(emulator, chat, (await ask(chat, "two")).response)


async def test_a_socket_that_dies_while_it_is_replaced_costs_nothing(
    emulator: Emulator, aging: Aging
) -> None:
    chat = aging.client.conversation(model="echo")
    await ask(chat, "one")
    aging.grow_older(AGE_S)
    aging.look_after()
    await emulator.drop_connections()
    await aging.settled()
    stream = await ask(chat, "two")
    assert_kept(emulator, chat, stream.response)


async def test_closing_while_a_replacement_is_made_leaves_nothing(emulator: Emulator, aging: Aging) -> None:
    await ask(aging.client.conversation(model="echo"), "one")
    emulator.faults.add("ignore_upgrade")
    aging.grow_older(AGE_S)
    aging.look_after()
    await until(lambda: emulator.handshakes == 2, "the replacement is being made")
    await soon(aging.client.close(within_s=60))


async def test_it_is_looked_after_by_itself(emulator: Emulator) -> None:
    limits = PoolLimits(max_age_s=0.0, age_jitter_s=0.0, upkeep_s=0.02)
    async with client_of(emulator, limits=limits) as client:
        await ask(client.conversation(model="echo"), "one")
        await until(lambda: client.metrics.rotations >= 3, "it is replaced again and again")


@pytest.mark.parametrize("lanes", [True, False])
async def test_conversations_go_on_over_many_rotations(emulator: Emulator, lanes: bool) -> None:
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


# The hour is over early.


async def test_a_limit_that_comes_while_idle_is_not_noticed() -> None:
    clock = Clock()
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
async def test_a_limit_in_answer_to_a_request_costs_one_more_attempt(store: bool) -> None:
    clock = Clock()
    async with Emulator(clock=clock) as emulator, client_of(emulator) as client:
        chat = client.conversation(model="echo", store=store)
        await ask(chat, "one")
        clock.now += 3601  # and the request is there before the server looks at its clock
        stream = await ask(chat, "two")
        assert stream.metrics.recoveries in ([Cause.LIMIT], [])
        assert stream.metrics.connection == 2
        assert stream.metrics.mode == ("delta" if store else "full")
        assert_kept(emulator, chat, stream.response)


async def test_a_limit_in_the_midst_costs_no_turn_that_had_not_begun_to_answer(emulator: Emulator) -> None:
    """One is in mid-answer, one has begun without output, and one has just been sent."""
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


async def test_after_a_limit_what_has_begun_may_still_finish() -> None:
    """Where the server says so and does not hang up at once."""
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
        assert not first.is_open, "it closes after its last answer"
