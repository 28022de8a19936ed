"""The plugin for LiveKit with the base URL of a gateway."""

from __future__ import annotations

from typing import Any

from trunkline.emulator import Emulator

from ..gateway.running import running
from .talks import TURNS, two_sessions, upstream


async def test_the_plugin_for_livekit(emulator: Emulator) -> None:
    from livekit.plugins import trunkline as plugin  # type: ignore[import-not-found,unused-ignore]

    used: list[Any] = []
    async with (
        running(emulator) as gateway,
        plugin.LLM(model="gpt-6-astra", base_url=gateway.base_url, api_key=gateway.api_key) as llm,
    ):
        llm.on("metrics_collected", used.append)
        await two_sessions(llm, upstream(emulator))
    assert {metrics.transport for metrics in used} == {"websocket"}
    assert {metrics.attempts for metrics in used} == {1}
    # Each of two sessions: a full request, then one for each other turn and one for the output of the tool.
    assert sorted(metrics.mode for metrics in used) == ["delta"] * (2 * len(TURNS)) + ["full"] * 2
    assert {request.transport for request in emulator.requests} == {"websocket"}
    chained = ["previous_response_id" in (request.body or {}) for request in emulator.requests]
    assert chained.count(False) == 2
