"""`Client.drain`: no new turns, the running ones end, and the client closes."""

from __future__ import annotations

import asyncio

import pytest

import trunkline
from trunkline.emulator import Emulator

from .talk import ask, client_of, first_text, hold_after_first_word
from .waiting import soon


async def test_draining_lets_a_running_answer_end_and_refuses_new_turns(emulator: Emulator) -> None:
    client = client_of(emulator)
    gate = hold_after_first_word(emulator)
    running = client.conversation(model="words-6").send("go on")
    async with running:
        await first_text(running)
        drained = asyncio.create_task(client.drain(within_s=60))
        await asyncio.sleep(0)  # the drain begins
        other = client.conversation(model="echo")
        with pytest.raises(trunkline.ClientClosed, match="draining"):
            await ask(other, "and me?")
        assert list(other.items) == []
        with pytest.raises(trunkline.ClientClosed, match="draining"):
            await client.warm(model="echo")
        assert not drained.done()
        gate.open()
        await running.finish()
    await soon(drained)
    assert running.response is not None
    assert running.response.status == "completed"
    assert client.state().sockets == 0
    with pytest.raises(trunkline.ClientClosed, match="closed"):
        await ask(client.conversation(model="echo"), "too late")


async def test_draining_ends_turns_that_run_too_long(emulator: Emulator) -> None:
    client = client_of(emulator)
    hold_after_first_word(emulator)
    running = client.conversation(model="words-6").send("go on")
    async with running:
        await first_text(running)
        await soon(client.drain(within_s=0.05))
        with pytest.raises(trunkline.ConnectionLost):
            await running.finish()


async def test_closing_ends_a_drain(emulator: Emulator) -> None:
    client = client_of(emulator)
    hold_after_first_word(emulator)
    async with client.conversation(model="words-6").send("go on") as running:
        await first_text(running)
        drained = asyncio.create_task(client.drain(within_s=600))
        await asyncio.sleep(0)  # the drain begins
        await soon(client.close())
        await soon(drained)


async def test_a_cancelled_drain_takes_no_turns_and_can_go_on(emulator: Emulator) -> None:
    client = client_of(emulator)
    gate = hold_after_first_word(emulator)
    async with client.conversation(model="words-6").send("go on") as running:
        await first_text(running)
        drained = asyncio.create_task(client.drain(within_s=600))
        await asyncio.sleep(0)  # the drain begins
        drained.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drained
        with pytest.raises(trunkline.ClientClosed, match="draining"):
            await ask(client.conversation(model="echo"), "and me?")
        again = asyncio.create_task(client.drain(within_s=600))
        gate.open()
        await running.finish()
        await soon(again)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_draining_waits_for_no_turn_that_has_ended(emulator: Emulator, transport: str) -> None:
    client = client_of(emulator, transport=transport)
    chat = client.conversation(model="echo")
    chat.send("never entered")
    await ask(chat, "one")
    async with chat.send("left early"):
        pass
    await soon(client.drain(within_s=600))


async def test_a_client_that_was_never_used_drains_at_once(emulator: Emulator) -> None:
    client = client_of(emulator)
    await soon(client.drain(within_s=600))
    await soon(client.drain(within_s=600))
