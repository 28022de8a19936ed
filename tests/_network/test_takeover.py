"""HTTP takes a turn over that no socket carries: too large, or a socket that opens and brings nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline import Cause, ConnectionLost, Deadlines, Policy
from trunkline._network import pool
from trunkline.emulator import Emulator

from ..talk import Timing, ask, assert_kept, client_of, first_text, hold_after_first_word
from ..waiting import runs_briefly, soon, until

QUICK = Policy(backoff_s=0.001)
BARREN: dict[str, dict[str, Any]] = {
    "closed": {"action": "close", "close_code": 1000},
    "failed": {"action": "close", "close_code": 1011},
    "reset": {"action": "reset"},
    "silent": {"action": "stall"},
}


def carries_nothing(emulator: Emulator, how: str, times: int | None = None) -> None:
    """From now on, sockets open and end, or are silent, before the first event."""
    fault = dict(BARREN[how])
    emulator.faults.add(fault.pop("action"), event=1, transport="websocket", times=times, **fault)


# Sockets that bring nothing.


@pytest.mark.parametrize("how", BARREN)
async def test_after_two_sockets_that_bring_nothing_the_turn_goes_over_http(
    emulator: Emulator, how: str
) -> None:
    carries_nothing(emulator, how)
    deadlines = Deadlines(first_event=runs_briefly(0.4)) if how == "silent" else None
    async with client_of(emulator, deadlines=deadlines, policy=QUICK) as client:
        chat = client.conversation(model="echo")
        metrics = (await soon(ask(chat, "one"))).metrics
        first = Cause.STALLED if how == "silent" else Cause.CONNECTION
        assert (metrics.transport, metrics.attempts) == ("http", 3)
        assert metrics.recoveries == [first, Cause.UPGRADE]
        handshakes = emulator.handshakes
        for words in ("two", "three"):
            stream = await soon(ask(chat, words))
            assert (stream.metrics.transport, stream.metrics.attempts) == ("http", 1)
            assert_kept(emulator, chat, stream.response)
        assert emulator.handshakes == handshakes == 2, "the breaker is open"


async def test_one_socket_that_brings_nothing_is_replaced_by_another(emulator: Emulator) -> None:
    carries_nothing(emulator, "reset", times=1)
    async with client_of(emulator, policy=QUICK) as client:
        metrics = (await soon(ask(client.conversation(model="echo"), "hello"))).metrics
    assert (metrics.transport, metrics.recoveries) == ("websocket", [Cause.CONNECTION])


async def test_sockets_that_have_worked_are_no_reason_for_http(emulator: Emulator) -> None:
    async with client_of(emulator, policy=QUICK) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        carries_nothing(emulator, "reset", times=2)
        metrics = (await soon(ask(chat, "two"))).metrics
    assert (metrics.transport, metrics.recoveries) == ("websocket", [Cause.CONNECTION] * 2)


async def test_a_socket_that_opens_again_and_brings_nothing_is_tried_ever_less_often(
    emulator: Emulator,
) -> None:
    carries_nothing(emulator, "reset")
    timing = Timing()
    async with client_of(emulator, policy=QUICK, world=timing.world) as client:

        async def way() -> str:
            stream = await soon(ask(client.conversation(model="echo"), "hello"))
            await until(lambda: not client.state().probing, "the probe has ended")
            return stream.metrics.transport

        tried = []
        for wait_s in (0, 11, 0, 11, 0, 11, 0):
            timing.now += wait_s
            assert await way() == "http"
            tried.append(emulator.handshakes)
        assert tried[0] == 2
        assert tried[-1] < 2 + 3 * 2, "the wait has grown"
        emulator.faults.clear()
        timing.now += 100
        assert await way() == "http"
        assert await way() == "websocket"


async def test_without_http_the_turn_is_not_sent_over_http(emulator: Emulator) -> None:
    carries_nothing(emulator, "reset")
    async with client_of(emulator, policy=QUICK, transport="websocket") as client:
        with pytest.raises(ConnectionLost):
            await soon(ask(client.conversation(model="echo"), "hello"))
    assert {request.transport for request in emulator.requests} == {"websocket"}


# Silent sockets.


async def test_a_silent_socket_gets_no_new_turns(emulator: Emulator) -> None:
    deadlines = Deadlines(first_event=runs_briefly(0.5))
    async with client_of(emulator, deadlines=deadlines) as client:
        chats = [client.conversation(model="echo") for _ in range(4)]
        await asyncio.gather(*(ask(chat, "before") for chat in chats))
        assert emulator.handshakes == 1
        emulator.faults.add("stall", event=1, connection=1, times=None)
        first = (await soon(ask(chats[0], "after"))).metrics
        assert (first.recoveries, first.connection) == ([Cause.STALLED], 2)
        for chat in chats[1:]:
            metrics = (await soon(ask(chat, "after"))).metrics
            assert (metrics.attempts, metrics.connection) == (1, 2)


# Requests that are too large.


async def test_a_request_for_which_the_socket_is_closed_goes_over_http(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        chat = client.conversation(model="echo")
        emulator.faults.add("close", event=1, close_code=1009)
        stream = await soon(ask(chat, "x" * 100_000))
        metrics = stream.metrics
        assert (metrics.transport, metrics.recoveries) == ("http", [Cause.TOO_LARGE])
        assert_kept(emulator, chat, stream.response)
        again = (await soon(ask(client.conversation(model="echo"), "x" * 100_001))).metrics
        assert (again.transport, again.bytes_sent < 101_000) == ("http", True), "the limit is known now"
        small = (await soon(ask(client.conversation(model="echo"), "small"))).metrics
        assert (small.transport, small.attempts) == ("websocket", 1)


async def test_neighbours_of_a_request_that_is_too_large_are_asked_again(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=1, request=1)
    async with client_of(emulator) as client:
        neighbour = asyncio.create_task(ask(client.conversation(model="echo"), "me too"))
        await until(lambda: len(emulator.requests) == 1, "the neighbour has asked")
        emulator.faults.add("close", event=1, request=2, close_code=1009)
        large = (await soon(ask(client.conversation(model="echo"), "x" * 100_000))).metrics
        assert (large.transport, large.recoveries) == ("http", [Cause.TOO_LARGE])
        gate.open()
        metrics = (await soon(neighbour)).metrics
        assert (metrics.transport, metrics.recoveries) == ("websocket", [Cause.CONNECTION])


async def test_a_request_above_the_known_limit_is_not_sent_on_a_socket(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LARGEST_FRAME", 50_000)
    async with client_of(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "small")
        stream = await soon(ask(chat, "x" * 60_000))
        assert (stream.metrics.transport, stream.metrics.recoveries) == ("http", [Cause.TOO_LARGE])
        assert_kept(emulator, chat, stream.response)
        assert (await ask(chat, "small again")).metrics.transport == "websocket"
    assert emulator.handshakes == 1


async def test_without_http_a_request_above_the_limit_is_one_clear_error(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LARGEST_FRAME", 50_000)
    async with client_of(emulator, transport="websocket") as client:
        chat = client.conversation(model="echo")
        await ask(chat, "small")
        items = chat.items
        with pytest.raises(ConnectionLost, match=r"50,000 bytes; use transport='auto'") as failure:
            await soon(ask(chat, "x" * 60_000))
        assert (failure.value.close_code, failure.value.sent) == (1009, False)
        assert chat.items == items
        await ask(chat, "small again")
    assert emulator.handshakes == 1


async def test_without_http_a_refused_size_is_one_clear_error(emulator: Emulator) -> None:
    emulator.faults.add("close", event=1, close_code=1009, times=None)
    async with client_of(emulator, transport="websocket", policy=QUICK) as client:
        with pytest.raises(ConnectionLost, match="a message was too large") as failure:
            await soon(ask(client.conversation(model="echo"), "x" * 100_000))
    assert failure.value.close_code == 1009
    assert len(emulator.requests) == 1


async def test_a_large_request_shares_no_socket_whose_limit_is_unknown(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    async with client_of(emulator) as client:
        async with client.conversation(model="echo").send("go on and on") as running:
            await first_text(running)
            large = (await soon(ask(client.conversation(model="echo"), "x" * 2**20))).metrics
            assert (large.transport, large.recoveries) == ("http", [Cause.TOO_LARGE])
            gate.open()
            await running.finish()
        alone = (await soon(ask(client.conversation(model="echo"), "x" * 2**20))).metrics
    assert (alone.transport, alone.attempts) == ("websocket", 1)


async def test_a_large_request_whose_socket_is_reset_goes_over_http(emulator: Emulator) -> None:
    carries_nothing(emulator, "reset", times=1)
    async with client_of(emulator, policy=QUICK) as client:
        metrics = (await soon(ask(client.conversation(model="echo"), "x" * 2**20))).metrics
        assert (metrics.transport, metrics.recoveries) == ("http", [Cause.TOO_LARGE])
        small = (await soon(ask(client.conversation(model="echo"), "small"))).metrics
    assert small.transport == "websocket"
