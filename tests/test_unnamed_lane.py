"""On a connection with named lanes, an event without a lane cannot be routed."""

from __future__ import annotations

import pytest

import trunkline
from trunkline.emulator import Emulator

from .talk import ask, client_of, first_text, hold_after_first_word


async def test_a_delta_without_a_lane_fails_the_turn(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    emulator.faults.add("omit", fields=("stream_id",), event=8)
    async with client_of(emulator) as client:
        chat = client.conversation(model="words-20")
        async with chat.send("go") as stream:
            await first_text(stream)
            gate.open()
            with pytest.raises(trunkline.ProtocolViolation, match="lanes=False"):
                await stream.finish()
        assert (await ask(chat, "again")).metrics.connection == 2


async def test_before_output_an_event_without_a_lane_causes_a_replay(emulator: Emulator) -> None:
    emulator.faults.add("omit", fields=("stream_id",), event=1)
    async with client_of(emulator) as client:
        answer = await ask(client.conversation(model="words-20"), "go")
        assert (answer.metrics.attempts, len(answer.response.output_text.split())) == (2, 20)
