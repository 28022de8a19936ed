"""On a connection with named lanes, an event that names none belongs to nobody known."""

from __future__ import annotations

import pytest

import trunkline
from trunkline.emulator import Emulator

from .talk import ask, client_of, first_text, hold_after_first_word


async def test_a_part_of_an_answer_that_names_no_lane_is_not_lost_in_silence(emulator: Emulator) -> None:
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


async def test_where_nobody_had_heard_of_the_answer_it_is_asked_again(emulator: Emulator) -> None:
    emulator.faults.add("omit", fields=("stream_id",), event=1)
    async with client_of(emulator) as client:
        answer = await ask(client.conversation(model="words-20"), "go")
        assert (answer.metrics.attempts, len(answer.response.output_text.split())) == (2, 20)
