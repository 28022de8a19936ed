"""Connections whose peer is gone without a word: turns go elsewhere, or fail soon with a typed error."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import trunkline
from trunkline import Cause, Deadlines, Policy, PoolLimits
from trunkline.emulator import Emulator

from ..talk import ask, client_of, first_text
from ..waiting import TIME_SCALE, soon, until
from .link import Link

pytestmark = pytest.mark.usefixtures("no_proxy")

LIMITS = PoolLimits(
    ping_after_s=0.5 * TIME_SCALE, doubt_after_s=1.0 * TIME_SCALE, dead_after_s=2.0 * TIME_SCALE
)
LATE = Deadlines(first_event=100.0, between_events=100.0)
"""Deadlines that end no turn of these tests."""


@pytest.fixture
async def link(emulator: Emulator) -> AsyncIterator[Link]:
    async with Link(emulator.base_url) as link:
        yield link


def client_by(link: Link, emulator: Emulator, **options: Any) -> Any:
    given = {"limits": LIMITS, "deadlines": LATE, "transport": "websocket", **options}
    return client_of(emulator, base_url=link.base_url, **given)


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("half_open", [True, False])
async def test_turns_on_flows_that_a_nat_has_forgotten_are_answered_on_new_ones(
    emulator: Emulator, link: Link, lanes: bool, half_open: bool
) -> None:
    async with client_by(link, emulator, lanes=lanes) as client:
        chats = [client.conversation(model="echo") for _ in range(4)]
        await asyncio.gather(*(ask(chat, "before") for chat in chats))
        if half_open:
            link.half_open()
        else:
            link.fall_silent()
        streams = await soon(asyncio.gather(*(ask(chat, "after") for chat in chats)), 30)
        assert [stream.response.output_text for stream in streams] == ["after"] * 4
        assert {tuple(stream.metrics.recoveries) for stream in streams} == {(Cause.CONNECTION,)}
        later = await soon(ask(chats[0], "later"))
        assert later.metrics.attempts == 1


async def test_silence_in_the_middle_of_an_answer_is_a_lost_connection(
    emulator: Emulator, link: Link
) -> None:
    gate = emulator.faults.hold(event=7)
    async with client_by(link, emulator) as client:
        chat = client.conversation(model="words-9")
        async with chat.send("go") as stream:
            await first_text(stream)
            link.fall_silent()
            gate.open()
            with pytest.raises(trunkline.ConnectionLost, match="did not answer a ping") as lost:
                await soon(stream.finish(), 30)
        assert lost.value.output_seen
        assert (await soon(ask(chat, "again"))).metrics.attempts == 1


async def test_a_long_pause_of_a_server_that_lives_is_no_silence(emulator: Emulator, link: Link) -> None:
    gate = emulator.faults.hold(event=7)
    async with client_by(link, emulator) as client:
        chat = client.conversation(model="words-9")
        async with chat.send("go") as stream:
            await first_text(stream)
            await asyncio.sleep(2 * LIMITS.dead_after_s)
            gate.open()
            await soon(stream.finish())
        assert client.metrics.dials == 1


async def test_an_idle_connection_that_was_forgotten_is_not_used(emulator: Emulator, link: Link) -> None:
    async with client_by(link, emulator, ping_interval_s=1.0 * TIME_SCALE) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "before")
        link.fall_silent()
        await until(lambda: client.connections == 0, "it is found", within_s=30)
        stream = await soon(ask(chat, "after"))
        assert (stream.metrics.attempts, stream.response.output_text) == (1, "after")


SERVER = """
import asyncio
from trunkline.emulator import Emulator

async def main():
    async with Emulator(api_key=None) as emulator:
        print(emulator.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_server_that_is_suspended_fails_its_turns_soon_and_serves_when_it_goes_on() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        base_url = (await soon(server.stdout.readline(), 60)).decode().strip()
        async with trunkline.Client(
            base_url=base_url,
            api_key="sk-x",
            lanes=True,
            transport="websocket",
            limits=LIMITS,
            deadlines=Deadlines(connect=1.0 * TIME_SCALE, first_event=100.0),
            policy=Policy(max_attempts=2),
        ) as client:
            chat = client.conversation(model="echo")
            await ask(chat, "before")
            os.kill(server.pid, signal.SIGSTOP)
            with pytest.raises((trunkline.NetworkError, trunkline.DeadlineExceeded)):
                await soon(ask(chat, "meanwhile"), 30)
            os.kill(server.pid, signal.SIGCONT)
            stream = await soon(ask(chat, "after"), 30)
            assert stream.response.output_text == "after"
    finally:
        server.kill()
        await server.wait()
