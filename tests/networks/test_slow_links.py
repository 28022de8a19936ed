"""Requests that leave slowly: they are sent once, and the requests behind them wait for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline import DeadlineExceeded, Deadlines, Policy
from trunkline.emulator import Emulator

from ..talk import ask, client_of
from ..waiting import TIME_SCALE, soon, until
from .link import Link

pytestmark = pytest.mark.usefixtures("no_proxy")

LARGE = [{"role": "user", "content": "x" * 150_000}, {"role": "assistant", "content": "yes"}]
FIRST_EVENT_S = 1.5 * TIME_SCALE
DEADLINES = Deadlines(first_event=FIRST_EVENT_S)
UPLINK = 150_000 / (3 * FIRST_EVENT_S)
"""Bytes per second: the large request takes three times as long as the server may take to answer it."""


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_the_wait_for_an_answer_begins_when_the_request_has_left(
    emulator: Emulator, transport: Any
) -> None:
    async with Link(emulator.base_url) as link:
        link.uplink_bytes_per_s = UPLINK
        options = {"base_url": link.base_url, "transport": transport, "deadlines": DEADLINES}
        async with client_of(emulator, **options) as client:
            chat = client.conversation(model="echo", items=LARGE)
            stream = await soon(ask(chat, "and now?"), 60)
            assert stream.response.output_text == "and now?"
            assert stream.metrics.attempts == 1
            assert client.metrics.fulls == 1
        assert 150_000 < link.carried_up < 160_000


async def test_small_requests_behind_a_large_one_wait_for_it(emulator: Emulator) -> None:
    async with Link(emulator.base_url) as link:
        options = {"base_url": link.base_url, "transport": "websocket", "deadlines": DEADLINES}
        async with client_of(emulator, **options) as client:
            small = [client.conversation(model="echo") for _ in range(3)]
            await asyncio.gather(*(ask(chat, "before") for chat in small))
            link.uplink_bytes_per_s = UPLINK
            large = asyncio.create_task(ask(client.conversation(model="echo", items=LARGE), "large"))
            await until(lambda: client.metrics.turns == 4, "the large request is sent")
            streams = await soon(asyncio.gather(large, *(ask(chat, "behind") for chat in small)), 60)
            assert [stream.metrics.attempts for stream in streams] == [1, 1, 1, 1]
            assert client.metrics.dials == 1


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_request_that_is_stuck_is_not_waited_for(emulator: Emulator, transport: Any) -> None:
    async with Link(emulator.base_url) as link:
        link.silent = True if transport == "http" else link.silent
        options = {
            "base_url": link.base_url,
            "transport": transport,
            "deadlines": Deadlines(first_event=0.5 * TIME_SCALE),
            "policy": Policy(max_attempts=1),
        }
        async with client_of(emulator, **options) as client:
            if transport == "websocket":
                await client.warm(model="echo")
                link.fall_silent()
            chat = client.conversation(model="echo", items=LARGE)
            with pytest.raises(DeadlineExceeded, match="first_event"):
                await soon(ask(chat, "and now?"))
        assert link.carried_up < 150_000
