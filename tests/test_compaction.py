"""Compaction inside a response: it shows nothing before it is done, so that a turn may be sent again."""

from __future__ import annotations

import pytest

import trunkline
from trunkline import Cause
from trunkline.emulator import Emulator

from .talk import ask, record_of, user

MANAGEMENT = [{"type": "compaction", "compact_threshold": 20}]
COMPACTING = "response.compaction.compacting"


async def talk(client: trunkline.Client) -> tuple[trunkline.Conversation, trunkline.ResponseStream]:
    chat = client.conversation(model="echo", context_management=MANAGEMENT)
    return chat, await ask(chat, [user("words " * 60)])


@pytest.mark.parametrize("before", [COMPACTING, "response.output_item.done"])
async def test_a_loss_while_the_service_compacts_is_not_seen(
    emulator: Emulator, client: trunkline.Client, before: str
) -> None:
    emulator.faults.add("drop", event_type=before)
    chat, stream = await talk(client)
    assert stream.metrics.recoveries == [Cause.CONNECTION]
    assert [item["type"] for item in stream.response.output] == ["compaction", "message"]
    stream = await ask(chat, "on")
    assert stream.metrics.mode == "delta"
    assert record_of(emulator, stream).effective_context[0]["type"] == "compaction"


async def test_a_loss_after_the_compaction_is_raised(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("drop", event_type="response.content_part.added")
    with pytest.raises(trunkline.ConnectionLost) as lost:
        await talk(client)
    assert lost.value.output_seen


async def test_the_events_of_a_compaction_reach_the_caller(client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", context_management=MANAGEMENT)
    async with chat.send([user("words " * 60)]) as stream:
        kinds = [event.wire_type async for event in stream]
    assert kinds[2:5] == ["response.output_item.added", COMPACTING, "response.output_item.done"]
