"""Many concurrent conversations: few connections with lanes, one each without; contexts stay separate."""

from __future__ import annotations

import asyncio

import pytest

import trunkline
from trunkline.emulator import Emulator

from .talk import assert_kept, client_of, user
from .waiting import soon, until

CONVERSATIONS = 200
TURNS = 10


async def converse(emulator: Emulator, client: trunkline.Client, number: int) -> None:
    chat = client.conversation(model="echo", items=[user(f"I am {number}")], store=False)
    for turn in range(TURNS):
        said = f"{number} says {turn}"
        async with chat.send(said) as stream:
            received = "".join([piece async for piece in stream.text()])
        assert received == said
        assert stream.metrics.mode == ("delta" if turn else "full")
        assert stream.metrics.attempts == 1
    assert_kept(emulator, chat, stream.response)
    assert len(chat.items) == 1 + 2 * TURNS


@pytest.mark.parametrize(("lanes", "sockets"), [(True, 13), (False, CONVERSATIONS)])
async def test_200_concurrent_conversations_of_10_turns(lanes: bool, sockets: int) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    async with Emulator(first_token_s=0.05) as emulator, client_of(emulator, lanes=lanes) as client:
        gate = emulator.faults.hold(event=1, times=CONVERSATIONS)
        conversations = asyncio.gather(
            *(converse(emulator, client, number) for number in range(CONVERSATIONS))
        )
        await until(lambda: gate.held == CONVERSATIONS, "all first requests have arrived", within_s=30)
        gate.open()
        await soon(conversations, within_s=80)
        assert emulator.handshakes == len(emulator.connections) <= sockets
        assert len(emulator.responses) == CONVERSATIONS * TURNS
        assert all(not response.error for response in emulator.requests)
        assert (client.metrics.fulls, client.metrics.deltas) == (
            CONVERSATIONS,
            CONVERSATIONS * (TURNS - 1),
        )
        most = max(connection.peak_in_flight for connection in emulator.connections)
        assert most == (16 if lanes else 1)
