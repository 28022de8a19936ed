"""Logs of a session in LiveKit's ``console`` and ``dev``, which run the root logger at DEBUG."""

from __future__ import annotations

import logging

import pytest
from livekit.agents import Agent
from livekit.plugins import trunkline
from trunkline.emulator import Emulator

from .talk import MODEL, session_of

OURS = ("trunkline", "livekit.plugins.trunkline", "picows")


@pytest.mark.parametrize("use_websocket", [True, False])
async def test_turns_that_go_well_write_nothing(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, use_websocket: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    llm = trunkline.LLM(
        model=MODEL,
        base_url=emulator.base_url,
        api_key=emulator.api_key or "",
        use_websocket=use_websocket,
    )
    async with session_of(llm, Agent(instructions="Be brief.")) as session:
        for words in ("Hello", "How are you"):
            await session.run(user_input=words)
    await llm.aclose()
    assert len(emulator.responses) == 2
    told = [record.getMessage() for record in caplog.records if record.name.startswith(OURS)]
    assert told == []
