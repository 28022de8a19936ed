"""Abandoned answers drain within bounds and delay no other turn."""

from __future__ import annotations

import asyncio

import trunkline
from trunkline import PoolLimits
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import Timing, ask, assert_kept, client_of, first_text
from .waiting import soon, until

LONG = "words-1000000"  # does not end before the test, even on a slow machine


async def leave(chat: trunkline.Conversation) -> trunkline.ResponseStream:
    """Leave an answer after its first text."""
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
    return stream


async def test_at_max_draining_another_connection_is_dialled_and_no_turn_waits_for_it(
    emulator: Emulator,
) -> None:
    emulator.pace = Pace(0.0, 100)
    async with client_of(emulator, limits=PoolLimits(max_draining=3)) as client:
        places = []
        for _ in range(7):
            stream = await leave(client.conversation(model=LONG))
            places.append(stream.metrics.connection)
            await until(lambda: client.state().dialling == 0, "the new connection is ready")
        assert places == [1, 1, 1, 1, 2, 2, 2]
        assert client.metrics.abandoned == 7


async def test_a_connection_is_used_again_once_its_answers_have_drained(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 400)
    async with client_of(emulator, limits=PoolLimits(max_draining=2)) as client:
        for _ in range(2):
            await leave(client.conversation(model="words-40"))
        await until(lambda: client.state().draining == 0, "the answers have drained")
        assert (await leave(client.conversation(model="words-40"))).metrics.connection == 1


async def test_repeated_interruptions_are_each_answered_without_delay(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 100)
    async with client_of(emulator) as client:
        chat = client.conversation(model=LONG)
        for _ in range(20):
            stream = await soon(leave(chat))
            assert stream.metrics.attempts == 1
            await until(lambda: client.state().dialling == 0, "the new connection is ready")
        assert max(connection.peak_in_flight for connection in emulator.connections) <= 10
        answer = await ask(chat, "and now?", model="echo")
        assert_kept(emulator, chat, answer.response)


async def test_tokens_of_abandoned_answers_are_counted(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 400)
    async with client_of(emulator) as client:
        await leave(client.conversation(model="words-40"))
        await until(lambda: client.metrics.abandoned_usage["output_tokens"] == 40, "the answer has drained")


async def test_an_abandoned_answer_without_end_closes_its_connection_after_drain_s(
    emulator: Emulator,
) -> None:
    emulator.pace = Pace(0.0, 200)
    emulator.faults.add("stall", event=8, request=1)
    timing, limits = Timing(), PoolLimits(drain_s=300, upkeep_s=Timing.UPKEEP_S)
    async with client_of(emulator, limits=limits, world=timing.world) as client:
        await leave(client.conversation(model="words-40"))
        neighbour = client.conversation(model="words-40")
        timing.now += 299
        timing.keep_up()
        assert (await ask(neighbour, "one")).metrics.connection == 1
        async with neighbour.send("two") as stream:
            await first_text(stream)
            timing.now += 2
            timing.keep_up()
            assert (await ask(client.conversation(model="words-40"), "hello")).metrics.connection == 2
            await stream.finish()
        assert (stream.metrics.connection, stream.metrics.attempts) == (1, 1)
        await until(
            lambda: len(emulator.live_connections) == 1, "the connection is closed after its last answer"
        )
        after = await ask(neighbour, "three")
        assert after.metrics.connection == 2
        assert_kept(emulator, neighbour, after.response)


async def test_a_late_end_of_an_abandoned_answer_disturbs_no_neighbour(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 200)
    gate = emulator.faults.hold(event=8, request=2)
    timing, limits = Timing(), PoolLimits(drain_s=1, upkeep_s=Timing.UPKEEP_S)
    async with client_of(emulator, limits=limits, world=timing.world) as client:
        async with client.conversation(model="words-80").send("hello") as neighbour:
            await leave(client.conversation(model="words-80"))
            timing.now += 2
            timing.keep_up()
            gate.open()
            await neighbour.finish()
        assert len(neighbour.received_text.split()) == 80
        assert neighbour.metrics.attempts == 1
        assert emulator.faults.fired


# Closing instead of draining: close_abandoned.


async def test_close_abandoned_closes_the_connection_and_the_service_stops(
    emulator: Emulator,
) -> None:
    emulator.pace = Pace(0.0, 100)
    async with client_of(emulator, limits=PoolLimits(close_abandoned=True)) as client:
        chat = client.conversation(model=LONG)
        await leave(chat)
        (record,) = emulator.responses.values()
        await until(lambda: record.status == "cancelled", "the service has stopped")
        assert not emulator.live_connections
        stream = await ask(chat, "and now?", model="echo")
        assert (stream.metrics.connection, stream.metrics.attempts) == (2, 1)
        assert_kept(emulator, chat, stream.response)


async def test_close_abandoned_keeps_a_connection_with_other_turns(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 200)
    async with client_of(emulator, limits=PoolLimits(close_abandoned=True)) as client:
        async with client.conversation(model="words-80").send("hello") as neighbour:
            await first_text(neighbour)
            await leave(client.conversation(model="words-80"))
            await neighbour.finish()
        assert neighbour.metrics.attempts == 1
        assert len(neighbour.received_text.split()) == 80


async def test_close_abandoned_keeps_the_connection_of_a_complete_turn(emulator: Emulator) -> None:
    async with client_of(emulator, limits=PoolLimits(close_abandoned=True)) as client:
        chat = client.conversation(model="echo")
        for _ in range(3):
            await ask(chat, "hello")
        assert emulator.handshakes == 1


async def test_close_abandoned_keeps_a_connection_with_a_new_request(emulator: Emulator) -> None:
    """The stream of one turn is left while the request of another runs on the same connection."""
    emulator.pace = Pace(0.0, 200)
    async with client_of(emulator, limits=PoolLimits(close_abandoned=True)) as client:
        one, two = (client.conversation(model="words-40") for _ in range(2))
        async with one.send("hello") as stream:
            await first_text(stream)
            asking = asyncio.create_task(ask(two, "hello"))
            await until(lambda: len(emulator.responses) == 2, "the second request has arrived")
        answered = await soon(asking)
        assert answered.metrics.attempts == 1
        assert_kept(emulator, two, answered.response)
