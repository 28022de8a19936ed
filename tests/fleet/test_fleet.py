"""Replicas of the gateway behind each balancer: kills, drains and restarts under many conversations."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

import trunkline
from trunkline.emulator import Emulator, assert_context

from ..waiting import TIME_SCALE, soon, until
from .balancers import BALANCERS, Balancer
from .processes import Fleet, accepts, fleet

CONVERSATIONS = int(os.environ.get("TRUNKLINE_FLEET_CONVERSATIONS", "30"))
TURNS = int(os.environ.get("TRUNKLINE_FLEET_TURNS", "4"))
REPLICAS = 3


class Talk:
    """A conversation of a caller that knows the URL of the fleet alone, and sends its history each turn."""

    def __init__(self, url: str, emulator: Emulator, name: str, *, max_retries: int = 5) -> None:
        self.modes: Counter[str] = Counter()
        self._emulator = emulator
        self._items: list[dict[str, Any]] = []
        self._name = name
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=emulator.api_key,
            max_retries=max_retries,
            timeout=60,
            default_headers={"x-trunkline-key": name},
        )

    async def turn(self, number: int) -> None:
        """Take a turn; the context that the model saw must be the caller's."""
        text = f"{self._name} turn {number}"
        self._items.append({"type": "message", "role": "user", "content": text})
        raw = await self._client.responses.with_raw_response.create(model="echo", input=self._items)  # type: ignore[arg-type]
        response = raw.parse()
        assert response.output_text == text
        assert_context(self._emulator.effective_context(response.id), self._items)
        self.modes[raw.headers["x-trunkline-mode"]] += 1
        self._items += [item.model_dump(exclude_none=True) for item in response.output]

    async def talk(self, turns: int = TURNS) -> None:
        for number in range(turns):
            await self.turn(number)

    async def close(self) -> None:
        await self._client.close()


@pytest.fixture(params=BALANCERS.values(), ids=str)
def balancer(request: pytest.FixtureRequest) -> Balancer:
    found: Balancer = request.param
    return found


@pytest.fixture
async def three(tmp_path: Path, emulator: Emulator, balancer: Balancer) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, emulator.base_url, REPLICAS, balancer) as found:
        yield found


@pytest.fixture
async def talks(three: Fleet, emulator: Emulator) -> AsyncIterator[list[Talk]]:
    found = [Talk(three.base_url, emulator, f"talk {number}") for number in range(CONVERSATIONS)]
    yield found
    await asyncio.gather(*(talk.close() for talk in found))


def modes_of(talks: list[Talk]) -> Counter[str]:
    return sum((talk.modes for talk in talks), Counter())


def test_the_shipped_configuration_is_valid(tmp_path: Path, balancer: Balancer) -> None:
    path = balancer.write(tmp_path, 8080, [8787, 8887])
    done = subprocess.run(balancer.check(path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_conversation_stays_with_its_replica(talks: list[Talk], emulator: Emulator) -> None:
    await asyncio.gather(*(talk.talk() for talk in talks))
    assert modes_of(talks) == {"full": CONVERSATIONS, "delta": CONVERSATIONS * (TURNS - 1)}
    sockets = {request.connection_id for request in emulator.requests}
    assert len(sockets) <= CONVERSATIONS // 16 + 2 * REPLICAS


async def test_conversations_of_a_killed_replica_move_and_stay(
    three: Fleet, talks: list[Talk], emulator: Emulator
) -> None:
    await asyncio.gather(*(talk.talk(2) for talk in talks))
    three.replicas[0].signal(signal.SIGKILL)
    await three.replicas[0].ended()
    for _ in range(8):
        before = modes_of(talks)["full"]
        await asyncio.gather(*(talk.talk(1) for talk in talks))
        if modes_of(talks)["full"] == before:
            break
    else:
        pytest.fail("conversations still move")
    moved = sum(talk.modes["full"] > 1 for talk in talks)
    assert 0 < moved < CONVERSATIONS
    # A turn may go to one replica before the balancer has noticed, and the next ones to another.
    assert all(talk.modes["full"] <= 3 for talk in talks)


async def test_requests_on_a_killed_replica_are_answered_by_another(
    three: Fleet, talks: list[Talk], emulator: Emulator
) -> None:
    gate = emulator.faults.hold(event=1, times=None)
    running = asyncio.gather(*(talk.talk(1) for talk in talks))
    await until(lambda: len(emulator.requests) == CONVERSATIONS, "all requests wait upstream", within_s=60)
    three.replicas[0].signal(signal.SIGKILL)
    await three.replicas[0].ended()
    gate.open()
    await soon(running, 120)
    # Those of the killed replica were sent twice: their callers asked again.
    assert CONVERSATIONS < len(emulator.requests) < 2 * CONVERSATIONS


async def test_a_balancer_repeats_no_request_that_was_sent(three: Fleet, emulator: Emulator) -> None:
    """A repeat may act twice and is billed twice. It is the client's decision, as the test before shows."""
    gate = emulator.faults.hold(event=1, times=None)
    talks = [Talk(three.base_url, emulator, f"talk {number}", max_retries=0) for number in range(30)]
    running = asyncio.gather(*(talk.talk(1) for talk in talks), return_exceptions=True)
    await until(lambda: len(emulator.requests) == len(talks), "all requests wait upstream", within_s=60)
    three.replicas[0].signal(signal.SIGKILL)
    await three.replicas[0].ended()
    gate.open()
    failed = [each for each in await soon(running, 120) if each is not None]
    assert failed
    assert all(isinstance(each, openai.InternalServerError) for each in failed)
    assert len(emulator.requests) == len(talks)
    await asyncio.gather(*(talk.close() for talk in talks))


async def test_a_caller_that_leaves_ends_its_answer(three: Fleet, emulator: Emulator) -> None:
    emulator.faults.hold(event=1, times=None)
    talk = Talk(three.base_url, emulator, "talk")
    asked = asyncio.create_task(talk.turn(0))
    await until(lambda: len(emulator.requests) == 1, "the request waits upstream", within_s=60)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await talk.close()
    # A replica with a running answer would wait for it.
    for each in three.replicas:
        each.signal(signal.SIGTERM)
    assert await asyncio.gather(*(each.ended() for each in three.replicas)) == [0] * REPLICAS


async def test_a_drained_replica_breaks_no_answer(
    three: Fleet, talks: list[Talk], emulator: Emulator
) -> None:
    gate = emulator.faults.hold(event_type="response.completed", times=None)
    running = asyncio.gather(*(talk.talk(1) for talk in talks))
    await until(lambda: len(emulator.requests) == CONVERSATIONS, "all requests run upstream", within_s=60)
    three.replicas[0].signal(signal.SIGTERM)
    port = three.replicas[0].port
    await until(lambda: not accepts(port), "it takes no new connections", within_s=60)
    gate.open()
    await soon(running, 120)
    assert await three.replicas[0].ended() == 0
    assert len(emulator.requests) == CONVERSATIONS
    await asyncio.gather(*(talk.talk(2) for talk in talks))


async def test_a_rolling_restart_under_load_fails_no_turn(
    three: Fleet, talks: list[Talk], emulator: Emulator
) -> None:
    stopped = asyncio.Event()

    async def talk_on(talk: Talk) -> int:
        number = 0
        while not stopped.is_set():
            await talk.turn(number)
            number += 1
        return number

    load = asyncio.gather(*(talk_on(talk) for talk in talks))
    for each in three.replicas:
        each.signal(signal.SIGTERM)
        assert await each.ended() == 0
        await each.start()
    stopped.set()
    assert all(await soon(load, 120))


async def test_lanes_pass_through_and_survive_a_rolling_restart(three: Fleet, emulator: Emulator) -> None:
    stopped = asyncio.Event()
    deadlines = trunkline.Deadlines(connect=10 * TIME_SCALE, first_event=15 * TIME_SCALE)
    async with trunkline.Client(
        base_url=three.base_url, api_key=emulator.api_key, deadlines=deadlines
    ) as client:
        await client.warm(model="echo")  # the server is known as a gateway before the turns begin

        async def talk_on(name: str) -> int:
            chat, number = client.conversation(model="echo"), 0
            while not stopped.is_set():
                async with chat.send(f"{name} turn {number}") as stream:
                    response = await stream.finish()
                assert response.output_text == f"{name} turn {number}"
                assert_context(emulator.effective_context(response.id), chat.items[:-1])
                number += 1
            return number

        load = asyncio.gather(*(talk_on(f"chat {number}") for number in range(12)))
        await until(lambda: client.metrics.deltas >= 12, "turns are deltas", within_s=60)
        assert client.connections < 12, "the lanes of the gateway are used"
        for each in three.replicas:
            each.signal(signal.SIGTERM)
            assert await each.ended() == 0
            await each.start()
        stopped.set()
        assert all(await soon(load, 120))
