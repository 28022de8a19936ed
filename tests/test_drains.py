"""Abandoned answers drain within bounds and delay no other turn."""

from __future__ import annotations

import asyncio

import pytest

import trunkline
from trunkline import DeadlineExceeded, Deadlines, Hooks, Policy, PoolLimits, TurnMetrics
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import Timing, ask, assert_kept, client_of, first_text, hold_after_first_word
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


async def test_the_usage_of_an_abandoned_answer_is_reported_once_it_has_drained(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    drained: list[TurnMetrics] = []
    of_stream: list[TurnMetrics] = []
    async with client_of(emulator, hooks=Hooks(turn_drained=drained.append)) as client:
        async with client.conversation(model="words-40").send("tell me a story") as stream:
            stream.when_drained(of_stream.append)
            await first_text(stream)
        assert (stream.metrics.outcome, stream.metrics.usage, drained) == ("left", None, [])
        gate.open()
        await until(lambda: bool(drained), "the answer has drained")
        (told,) = drained
        assert of_stream == drained
        assert (told.turn, told.outcome) == (stream.metrics.turn, "left")
        assert (told.response_id, told.output_tokens) == (next(iter(emulator.responses)), 40)
        assert told.total_s == stream.metrics.total_s
        await ask(client.conversation(model="echo"), "hello")
    assert len(drained) == 1


async def test_an_answer_whose_end_was_not_read_is_reported_at_once(emulator: Emulator) -> None:
    drained: list[TurnMetrics] = []
    async with client_of(emulator, hooks=Hooks(turn_drained=drained.append)) as client:
        async with client.conversation(model="words-40").send("tell me a story") as stream:
            await first_text(stream)
            await until(lambda: client.state().in_flight == 0, "the answer has ended")
        assert [told.output_tokens for told in drained] == [40]
        assert client.metrics.abandoned == 1
        assert client.metrics.abandoned_usage["output_tokens"] == 40


async def test_an_answer_that_timed_out_is_reported_too(emulator: Emulator) -> None:
    drained: list[TurnMetrics] = []
    gate = emulator.faults.hold(event_type="response.created")
    policy = Policy(max_attempts=1)
    hooks, deadlines = Hooks(turn_drained=drained.append), Deadlines(first_event=0.05)
    async with client_of(emulator, hooks=hooks, policy=policy, deadlines=deadlines) as client:
        with pytest.raises(DeadlineExceeded):
            await ask(client.conversation(model="words-40"), "tell me a story")
        gate.open()
        await until(lambda: bool(drained), "the answer has drained")
        assert (drained[0].outcome, drained[0].output_tokens) == ("failed", 40)


async def test_an_answer_over_http_stops_and_is_not_reported(emulator: Emulator) -> None:
    drained: list[TurnMetrics] = []
    async with client_of(emulator, transport="http", hooks=Hooks(turn_drained=drained.append)) as client:
        hold_after_first_word(emulator)
        await leave(client.conversation(model="words-40"))
        await until(lambda: client.state().http == 0, "the request has ended")
    assert drained == []


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
