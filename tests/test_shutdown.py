"""Closing a client: within its limit in every state, with typed errors, and without leaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, PoolLimits, TrunklineError
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import Timing, ask, client_of, first_text
from .waiting import TIME_SCALE, soon, until

WITHIN_S = 0.5
AT_MOST_S = (WITHIN_S + 1.5) * TIME_SCALE
ENDLESS = "words-1000000"


async def closed(client: trunkline.Client, *, within_s: float = WITHIN_S) -> float:
    """Close the client; return the duration in seconds."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await client.close(within_s)
    return loop.time() - begun


async def outcome_of(asking: asyncio.Task[Any]) -> object:
    """The error or the result of a turn."""
    (outcome,) = await soon(asyncio.gather(asking, return_exceptions=True))
    return outcome


async def test_close_ends_within_its_limit_with_turns_in_every_state(emulator: Emulator) -> None:
    """The client streams, steers, drains, dials, rotates and waits for a retry."""
    emulator.pace = Pace(0.0, 50)
    limits = PoolLimits(max_age_s=0.0, age_jitter_s=0.0, upkeep_s=Timing.UPKEEP_S, max_in_flight=4)
    timing = Timing()
    client = client_of(emulator, limits=limits, world=timing.world)
    long = client.conversation(model=ENDLESS)
    turns = []
    async with long.send("to be left") as left:
        await first_text(left)
    for n in range(8):
        turns.append(asyncio.create_task(ask(client.conversation(model=ENDLESS), f"hello {n}")))
    emulator.faults.add("reject", model="echo", status=429, headers={"retry-after": "30"})
    turns.append(asyncio.create_task(ask(client.conversation(model="echo"), "later")))
    talking = client.conversation(model=ENDLESS).send("tell me a story")
    async with talking:
        await first_text(talking)
        steering = asyncio.create_task(talking.steer("shorter"))
        await until(lambda: len(emulator.faults.fired) == 1, "one turn waits for a retry")
        await until(lambda: len(emulator.responses) >= 10, "all turns stream")
        emulator.faults.add("ignore_upgrade", times=None)
        timing.keep_up()
        turns.append(asyncio.create_task(ask(client.conversation(model="tools"), "dialling")))
        warming = asyncio.create_task(client.warm(model="reason"))
        await until(lambda: len(emulator.faults.fired) >= 4, "the dials hang")
        assert await closed(client) < AT_MOST_S
        with pytest.raises(TrunklineError):
            await soon(talking.finish())
        await outcome_of(steering)
    for turn in [*turns, warming]:
        assert isinstance(await outcome_of(turn), TrunklineError)
    assert (client.connections, client.state().in_flight) == (0, 0)


async def test_close_does_not_wait_for_a_server_that_does_not_answer(emulator: Emulator) -> None:
    emulator.faults.add("slow_read")
    async with client_of(emulator) as client:
        await ask(client.conversation(model="echo"), "hello")
        assert await closed(client, within_s=0.1) < 1.5 * TIME_SCALE


async def test_close_ends_within_its_limit_over_http(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 50)
    client = client_of(emulator, transport="http")
    turns = [asyncio.create_task(ask(client.conversation(model=ENDLESS), f"{n}")) for n in range(8)]
    await until(lambda: len(emulator.responses) == 8, "all turns stream")
    assert await closed(client) < AT_MOST_S
    for turn in turns:
        assert isinstance(await outcome_of(turn), TrunklineError)
    await until(
        lambda: {record.status for record in emulator.responses.values()} == {"cancelled"},
        "the service stops",
    )


async def test_close_does_not_wait_for_a_probe_of_the_breaker(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503)
    emulator.faults.add("ignore_upgrade")
    timing = Timing()
    client = client_of(emulator, deadlines=Deadlines(connect=60), world=timing.world)
    await ask(client.conversation(model="echo"), "hello")
    timing.now += 11
    await ask(client.conversation(model="echo"), "hello")
    await until(lambda: emulator.handshakes == 2, "the probe dials")
    assert await closed(client) < AT_MOST_S


async def test_after_close_a_history_holds_the_text_received_and_no_turn_without_output(
    emulator: Emulator,
) -> None:
    emulator.faults.add("stall", event=8, request=1)
    emulator.faults.add("stall", event=1, request=2)
    client = client_of(emulator)
    spoken, waiting = (client.conversation(model="words-40") for _ in range(2))
    async with spoken.send("hello") as stream:
        heard = await first_text(stream)
        asking = asyncio.create_task(ask(waiting, "hello"))
        await until(lambda: len(emulator.responses) == 2, "the second request has arrived")
        await client.close(WITHIN_S)
        with pytest.raises(TrunklineError):
            await soon(stream.finish())
        await outcome_of(asking)
    assert waiting.items == []
    said = [item["content"] for item in spoken.items]
    assert said[0] == "hello"
    assert said[1].startswith(heard)


async def test_close_may_be_called_repeatedly_and_concurrently(emulator: Emulator) -> None:
    client = client_of(emulator)
    await ask(client.conversation(model="echo"), "hello")
    await asyncio.gather(client.close(), client.close())
    await client.close()
