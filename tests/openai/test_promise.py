"""Random callers of the SDK who share words, on an emulator with faults: no context is wrong or foreign.

``make soak PART=drop-in`` has more turns and servers.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from trunkline.emulator import Emulator

from .crowd import Caller, Crowd, ForeignItemError, WrongContextError
from .talk import JSON, dropin, user
from .worlds import FAULTS, Weather, World

TURNS = int(os.environ.get("TRUNKLINE_DROPIN_TURNS", "400"))
SEED = os.environ.get("TRUNKLINE_DROPIN_SEED", "1")


@pytest.mark.parametrize("retention", [False, True, "silent"], ids=["stored", "zdr", "silent zdr"])
async def test_no_context_is_wrong_or_foreign(retention: Any) -> None:
    faults = [(action, details) for action, details in FAULTS if action != "stall"]  # each takes a second
    weather = Weather(zdr=retention, faults=faults, probability=0.001)
    world = World(str(retention), weather, random.Random(f"{SEED} {retention}"))
    await world.play(TURNS)
    assert world.is_clean, world.failures
    assert world.figures["delta"] > world.figures["turns"] // 10, world.line()
    assert world.faults


@pytest.fixture
def body() -> JSON:
    return {
        "model": "hosted",
        "tools": [{"type": "mcp", "server_label": "wiki", "server_url": "https://x.y"}],
    }


async def test_a_wrong_context_is_found(body: JSON) -> None:
    async with Emulator() as emulator, dropin(emulator) as client:
        crowd, caller = Crowd(emulator, client, random.Random(1)), Caller("caller", body, "all")
        response = await client.responses.create(**body, input="hello")
        record = emulator.responses[response.id]
        crowd.check(caller, record, [user("hello")], body)
        with pytest.raises(WrongContextError):
            crowd.check(caller, record, [user("hello"), user("hello")], body)


async def test_a_foreign_result_is_found_and_foreign_reasoning(body: JSON) -> None:
    thinking = {"model": "thinking", "instructions": "brief"}
    async with Emulator() as emulator, dropin(emulator) as client:
        crowd, caller = Crowd(emulator, client, random.Random(1)), Caller("caller", body, "words")
        said: Any = [user("hello"), {"role": "assistant", "content": "Done."}, user("go on")]
        for fields in (body, thinking):
            first = await client.responses.create(**fields, input=said[:1])
            second = await client.responses.create(**fields, input=said[2:], previous_response_id=first.id)
            record = emulator.responses[second.id]
            with pytest.raises(ForeignItemError):
                crowd.check(caller, record, said, fields | {"instructions": "formal"})
            caller.got.add(first.id)
            crowd.check(caller, record, said, fields)
            caller.got.clear()


async def test_a_turn_without_an_end_is_found_with_the_place_where_it_waits() -> None:
    async with Emulator() as emulator, dropin(emulator) as client:
        gate = emulator.faults.hold(event=1, times=None)
        crowd = Crowd(emulator, client, random.Random(1))
        crowd.patience_s = 0.2
        await crowd.step()
        assert "Crowd._turn" in str(crowd.failures[0])
        assert "no end" in str(crowd.failures[0])
        gate.open()
