"""Servers that refuse connections, or accept and end them: turns wait, and dials are few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, Policy
from trunkline.emulator import Emulator

from ..talk import ask, client_of
from ..waiting import TIME_SCALE, soon
from .link import Link

pytestmark = pytest.mark.usefixtures("no_proxy")

TURNS = 12


@pytest.fixture
async def link(emulator: Emulator) -> AsyncIterator[Link]:
    async with Link(emulator.base_url) as link:
        yield link


@pytest.mark.parametrize("seconds", [1, 3])
@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_a_server_that_is_gone_for_seconds_fails_no_turn(
    emulator: Emulator, link: Link, transport: Any, seconds: float
) -> None:
    deadlines = Deadlines(connect=20 * TIME_SCALE, first_event=None)
    async with client_of(
        emulator, base_url=link.base_url, transport=transport, deadlines=deadlines
    ) as client:
        chats = [client.conversation(model="echo") for _ in range(TURNS)]
        await asyncio.gather(*(ask(chat, "before") for chat in chats))
        link.refuse()
        link.cut()
        dials = link.dials
        turns = [asyncio.create_task(ask(chat, "after")) for chat in chats]
        await asyncio.sleep(seconds)
        await link.accept()
        streams = await soon(asyncio.gather(*turns), 30)
        assert [stream.response.output_text for stream in streams] == ["after"] * TURNS
        assert link.dials - dials <= TURNS


@pytest.mark.parametrize("lanes", [True, False])
async def test_a_server_that_accepts_upgrades_and_cuts_is_dialled_a_few_times_a_second(
    emulator: Emulator, link: Link, lanes: bool
) -> None:
    link.cuts_after_bytes = 1
    options = {"base_url": link.base_url, "lanes": lanes, "transport": "websocket"}
    deadlines = Deadlines(connect=3 * TIME_SCALE)
    async with client_of(emulator, deadlines=deadlines, **options) as client:
        chats = [client.conversation(model="echo") for _ in range(TURNS)]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        failures = await soon(
            asyncio.gather(*(ask(chat, "hello") for chat in chats), return_exceptions=True), 60
        )
        lasted_s = loop.time() - begun
        assert [each for each in failures if not isinstance(each, trunkline.NetworkError)] == []
        at_once = 1 if lanes else TURNS
        assert link.dials <= at_once + 2 + 4 * lasted_s


async def test_turns_are_answered_once_the_server_stops_cutting(emulator: Emulator, link: Link) -> None:
    link.cuts_after_bytes = 1
    options = {"base_url": link.base_url, "lanes": False, "transport": "websocket"}
    async with client_of(emulator, policy=Policy(max_attempts=10), **options) as client:
        turns = [asyncio.create_task(ask(client.conversation(model="echo"), "hello")) for _ in range(TURNS)]
        await asyncio.sleep(1)
        link.cuts_after_bytes = None
        streams = await soon(asyncio.gather(*turns), 30)
        assert {stream.response.output_text for stream in streams} == {"hello"}


@pytest.mark.parametrize("transport", ["auto", "http"])
async def test_a_server_that_cuts_every_connection_is_asked_a_few_times_a_second_over_http(
    emulator: Emulator, link: Link, transport: Any
) -> None:
    link.cuts = True
    deadlines = Deadlines(connect=2 * TIME_SCALE)
    async with client_of(
        emulator, base_url=link.base_url, transport=transport, deadlines=deadlines
    ) as client:
        chats = [client.conversation(model="echo") for _ in range(TURNS)]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        failures = await soon(
            asyncio.gather(*(ask(chat, "hello") for chat in chats), return_exceptions=True), 60
        )
        lasted_s = loop.time() - begun
        assert [each for each in failures if not isinstance(each, trunkline.NetworkError)] == []
        assert link.dials <= 1 + TURNS + 2 + 4 * lasted_s
