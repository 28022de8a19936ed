"""History of a steered answer that is left early: received texts and steers, in order."""

from __future__ import annotations

import trunkline
from trunkline.emulator import Emulator, Gate, assert_context
from trunkline.events import OutputTextDelta, ResponseCreated

STORY = "please tell me a long story about many things in the world of today"


def hold_after_three_words(emulator: Emulator) -> Gate:
    """Hold the next answer after three words."""
    return emulator.faults.hold(event=8)


async def read_until(stream: trunkline.ResponseStream, gate: Gate, created: int, deltas: int) -> str:
    """Steer the first response; read this many words of response number ``created`` and return them."""
    seen, text = 0, ""
    async for event in stream:
        if isinstance(event, ResponseCreated):
            seen, text = seen + 1, ""
        elif isinstance(event, OutputTextDelta):
            text += event.delta
            if seen == 1 and len(text.split()) == 3:
                await stream.steer("shorter please")
                gate.open()
            if seen == created and len(text.split()) >= deltas:
                break
    return text


async def test_leaving_the_successor_keeps_the_steered_answer_and_the_steer(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_three_words(emulator)
    chat = client.conversation(model="gpt-6-astra")
    async with chat.send(STORY) as stream:
        received = await read_until(stream, gate, created=2, deltas=2)
    steered = next(iter(emulator.responses.values()))
    assert chat.items[0]["content"] == STORY
    assert_context(chat.items[1:2], steered.output)
    assert [item["content"] for item in chat.items[2:]] == ["shorter please", received]


async def test_leaving_a_steered_answer_before_its_successor_keeps_what_was_received_and_the_steer(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_three_words(emulator)
    chat = client.conversation(model="gpt-6-astra")
    async with chat.send(STORY) as stream:
        received = await read_until(stream, gate, created=1, deltas=3)
    assert [item["content"] for item in chat.items] == [STORY, received, "shorter please"]
    async with chat.send("and now?") as stream:
        await stream.finish()
    assert_context(emulator.effective_context(stream.response.id), chat.items[:-1])
