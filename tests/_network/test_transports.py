"""Which way turns go: over a socket, over HTTP while no socket can be had, and back again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import trunkline
from trunkline import Cause, ConfigurationError, Deadlines, UpgradeRefused
from trunkline.emulator import Emulator

from ..talk import Timing, ask, assert_kept, client_of, first_text
from ..waiting import TIME_SCALE, runs_briefly, soon, until


async def way(client: trunkline.Client, words: str = "hello", model: str = "echo") -> str:
    """Which way a new conversation goes."""
    return (await ask(client.conversation(model=model), words)).metrics.transport


async def settled(client: trunkline.Client) -> None:
    """Wait until no probe runs."""
    await until(lambda: not client.state().probing, "the probe has ended")


# Modes.


async def test_http_alone_never_dials(emulator: Emulator) -> None:
    async with client_of(emulator, transport="http") as client:
        assert await way(client) == "http"
        assert (emulator.handshakes, client.metrics.dials, client.metrics.fallbacks) == (0, 0, 0)


async def test_websocket_alone_never_falls_back(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=404, times=None)
    async with client_of(emulator, transport="websocket") as client:
        with pytest.raises(UpgradeRefused):
            await way(client)
    assert not emulator.requests


async def test_other_words_are_refused() -> None:
    unknown: Any = "carrier pigeon"
    with pytest.raises(ConfigurationError, match="'auto', 'websocket' or 'http'") as refusal:
        trunkline.Client(api_key="sk-x", transport=unknown)
    assert refusal.value.argument == "transport"


# Falling back.


@pytest.mark.parametrize("status", [400, 403, 404, 405, 426, 500, 501, 503])
async def test_a_refused_upgrade_makes_it_http_for_this_turn(emulator: Emulator, status: int) -> None:
    emulator.faults.add("refuse_upgrade", status=status)
    async with client_of(emulator) as client:
        chat = client.conversation(model="echo")
        stream = await ask(chat, "hello")
        metrics = stream.metrics
        assert (metrics.transport, metrics.attempts, metrics.recoveries) == ("http", 2, [Cause.UPGRADE])
        assert client.metrics.fallbacks == 1
        assert_kept(emulator, chat, stream.response)


async def test_an_upgrade_that_is_not_answered_in_time_makes_it_http(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade")
    deadlines = Deadlines(connect=runs_briefly(0.3))
    async with client_of(emulator, deadlines=deadlines) as client:
        metrics = (await soon(ask(client.conversation(model="echo"), "hello"))).metrics
    assert (metrics.transport, metrics.recoveries) == ("http", [Cause.UPGRADE])
    assert metrics.total_s is not None
    assert metrics.total_s < 5 * TIME_SCALE


async def test_too_many_dials_is_no_reason_for_http(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=429, headers={"retry-after": "0.01"})
    async with client_of(emulator) as client:
        assert await way(client) == "websocket"
        assert client.metrics.fallbacks == 0


async def test_turns_that_wait_for_one_dial_all_fall_back(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=404)
    async with client_of(emulator) as client:
        ways = await asyncio.gather(*(way(client, f"I am {n}") for n in range(10)))
    assert set(ways) == {"http"}
    assert emulator.handshakes == 1


async def test_a_key_that_is_wrong_is_said_to_be_wrong(emulator: Emulator) -> None:
    async with client_of(emulator, api_key="sk-wrong") as client:
        with pytest.raises(trunkline.ResponseRefused) as refusal:
            await way(client)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")


# Staying, and coming back.


async def test_while_the_breaker_is_open_no_turn_waits_for_a_dial(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", times=None)
    deadlines = Deadlines(connect=runs_briefly(0.3))
    async with client_of(emulator, deadlines=deadlines, world=Timing().world) as client:
        await way(client)
        for _ in range(5):
            stream = await ask(client.conversation(model="echo"), "hello")
            assert (stream.metrics.transport, stream.metrics.attempts) == ("http", 1)
        assert emulator.handshakes == 1
        assert client.metrics.fallbacks == 1


async def test_after_a_while_a_socket_is_tried_beside_a_turn_and_used_by_the_next(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503)
    timing = Timing()
    async with client_of(emulator, world=timing.world) as client:
        assert await way(client) == "http"
        timing.now += 9
        assert await way(client) == "http"
        assert emulator.handshakes == 1, "it is not time yet"
        timing.now += 2
        assert await way(client) == "http", "no turn waits for the trial"
        await settled(client)
        assert emulator.handshakes == 2
        assert await way(client) == "websocket"
        assert client.metrics.recoveries == {Cause.UPGRADE: 1}


async def test_a_trial_that_fails_is_not_repeated_soon(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503, times=2)
    timing = Timing()
    async with client_of(emulator, world=timing.world) as client:
        handshakes = []
        for wait_s in (0, 11, 11, 11):
            timing.now += wait_s
            assert await way(client) == "http"
            await settled(client)
            handshakes.append(emulator.handshakes)
        assert handshakes == [1, 2, 2, 3]
        assert await way(client) == "websocket"


async def test_a_trial_that_hangs_holds_nobody_up_and_is_one_alone(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503)
    emulator.faults.add("ignore_upgrade", times=None)
    timing = Timing()
    async with client_of(emulator, world=timing.world) as client:
        await way(client)
        timing.now += 11
        assert await soon(way(client)) == "http"
        await until(lambda: emulator.handshakes == 2, "it is tried")
        for _ in range(5):
            assert await soon(way(client)) == "http"
        assert emulator.handshakes == 2
        await soon(client.close(within_s=60))


async def test_a_socket_that_is_there_is_used_though_another_could_not_be_made(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=8, request=1)
    async with client_of(emulator, lanes=False) as client:
        busy = client.conversation(model="words-40").send("hello")
        async with busy:
            await first_text(busy)
            emulator.faults.add("refuse_upgrade", status=503)
            assert await way(client, model="words-40") == "http"
            gate.open()
            await busy.finish()
        assert await way(client, model="words-40") == "websocket"


async def test_a_conversation_keeps_its_thread_from_one_way_to_the_other(emulator: Emulator) -> None:
    for store in (True, False):
        emulator.faults.add("refuse_upgrade", status=503)
        timing = Timing()
        async with client_of(emulator, world=timing.world) as client:
            chat = client.conversation(model="reason", store=store)
            ways, modes = [], []
            for wait_s in (0, 11, 0, 0):
                timing.now += wait_s
                stream = await ask(chat, "and now?")
                await settled(client)
                assert_kept(emulator, chat, stream.response)
                ways.append(stream.metrics.transport)
                modes.append(stream.metrics.mode)
            assert ways == ["http", "http", "websocket", "websocket"]
            assert modes == (["full", *["delta"] * 3] if store else [*["full"] * 3, "delta"])


async def test_a_turn_that_finds_no_room_goes_over_http_and_does_not_blame_the_socket(
    emulator: Emulator,
) -> None:
    emulator.faults.add("stall", event=4, times=1)
    limits = trunkline.PoolLimits(max_connections=1, max_in_flight=1)
    brief = Deadlines(connect=runs_briefly(0.3))
    async with client_of(emulator, limits=limits, deadlines=Deadlines(between_events=60)) as client:
        async with client.conversation(model="echo").send("stalls") as stream:
            await anext(stream)
            other = await ask(client.conversation(model="echo"), "no room", deadlines=brief)
            assert (other.metrics.transport, client.metrics.fallbacks) == ("http", 1)
        await emulator.drop_connections()
        await until(lambda: client.connections == 0, "the stalled socket is gone")
        assert (await ask(client.conversation(model="echo"), "room")).metrics.transport == "websocket"
