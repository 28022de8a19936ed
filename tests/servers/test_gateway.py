"""Clients of other languages, and the plugin for LiveKit, that know a gateway by its base URL alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkline.emulator import Emulator

from ..gateway.running import running
from .conftest import HERE
from .programs import NPM, output_of
from .talks import TURNS, assert_same, two_sessions, upstream


async def talk(script: str, folder: Path, **environment: str) -> dict[str, Any]:
    """The answers and items that a script of Node.js prints at its end."""
    output = await output_of(
        *("node", "--input-type=module"),
        script=(HERE / script).read_bytes(),
        folder=NPM,
        environment={"TURNS": json.dumps(questions()), "HOME": str(folder), **environment},
    )
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def questions() -> list[str]:
    return [turn.format("Oslo") for turn in TURNS]


def assert_told(emulator: Emulator, conversation: dict[str, Any]) -> None:
    """Assert that the service saw what the script holds, in one full request and deltas over a WebSocket."""
    assert len(conversation["answers"]) == len(TURNS)
    assert "12 degrees in Oslo" in conversation["answers"][1]
    assert len(emulator.requests) > len(TURNS)
    assert {request.error for request in emulator.requests} == {None}
    assert {request.transport for request in emulator.requests} == {"websocket"}
    chained = ["previous_response_id" in (request.body or {}) for request in emulator.requests]
    assert chained == [False, *[True] * (len(chained) - 1)]
    last = list(emulator.responses.values())[-1]
    assert_same([*last.effective_context, *last.output], conversation["items"])


@pytest.mark.parametrize("how", ["history", "stream", "ids", "websocket"])
async def test_the_openai_package_of_npm(emulator: Emulator, tmp_path: Path, how: str) -> None:
    async with running(emulator) as gateway:
        conversation = await talk(
            "openai.mjs",
            tmp_path,
            OPENAI_API_KEY=gateway.api_key,
            OPENAI_BASE_URL=gateway.base_url,
            HOW=how,
        )
    assert_told(emulator, conversation)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_the_javascript_plugin_of_livekit(emulator: Emulator, tmp_path: Path, transport: str) -> None:
    async with running(emulator) as gateway:
        conversation = await talk(
            "livekit.mjs",
            tmp_path,
            API_KEY=gateway.api_key,
            BASE_URL=gateway.base_url,
            TRANSPORT=transport,
        )
    assert_told(emulator, conversation)


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
