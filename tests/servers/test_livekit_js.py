"""The JavaScript plugin of LiveKit, npm's `@livekit/agents-plugin-openai`, as a client of the emulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.emulator import Emulator

from .conftest import HERE
from .programs import NPM, output_of
from .talks import TURNS, assert_same, upstream

SCRIPT = (HERE / "livekit.mjs").read_bytes()


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_conversation_with_a_tool(emulator: Emulator, tmp_path: Path, transport: str) -> None:
    turns = [turn.format("Oslo") for turn in TURNS]
    output = await output_of(
        *("node", "--input-type=module"),
        script=SCRIPT,
        folder=NPM,
        environment={
            "API_KEY": emulator.api_key or "",
            "BASE_URL": emulator.base_url,
            "TRANSPORT": transport,
            "TURNS": json.dumps(turns),
            "HOME": str(tmp_path),
        },
    )
    conversation = json.loads(output.splitlines()[-1])
    assert conversation["answers"] == [
        "You said: Good morning from Oslo.",
        "Here is what I found: get_weather says 12 degrees in Oslo.",
        "You said: Thanks, Oslo.",
        "You said: Good night, Oslo.",
    ]
    assert {request.transport for request in emulator.requests} == {transport}
    assert [request.error for request in emulator.requests] == [None] * 5
    assert_same(upstream(emulator)(conversation["answers"][-1]), conversation["items"])
