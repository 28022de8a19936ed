"""The gateway for `curl`: conversations with a tool, in requests that know its base URL alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from trunkline.emulator import Emulator, assert_context

from ..gateway.running import Running, running
from ..waiting import soon

QUESTIONS = ("How is the weather in Oslo?", "And the weather in Bergen?", "Thanks.")
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def post(gateway: Running, body: dict[str, Any]) -> dict[str, Any]:
    """The response that `curl` prints; the last one of a stream."""
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--fail-with-body", "--no-buffer", "--noproxy", "*"),
        *("--config", "-"),
        *("--header", "content-type: application/json", "--data-raw", json.dumps(body)),
        f"{gateway.base_url}/responses",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    # From a pipe, so that no list of processes shows the key.
    key = f'header = "authorization: Bearer {gateway.api_key}"'.encode()
    output, errors = await soon(curl.communicate(key), 60)
    assert curl.returncode == 0, errors.decode() + output.decode()
    if not body.get("stream"):
        found: dict[str, Any] = json.loads(output)
        return found
    events = [json.loads(line[6:]) for line in output.splitlines() if line.startswith(b"data: {")]
    assert events[0]["type"] == "response.created"
    assert any(event["type"].endswith(".delta") for event in events)
    assert events[-1]["type"] == "response.completed"
    last: dict[str, Any] = events[-1]["response"]
    return last


def answers_to(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "12 degrees"}
        for item in output
        if item["type"] == "function_call"
    ]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("names_parent", [False, True], ids=["history", "parent"])
async def test_a_conversation_with_a_tool(emulator: Emulator, is_stream: bool, names_parent: bool) -> None:
    items: list[dict[str, Any]] = []
    parent: dict[str, Any] = {}
    async with running(emulator) as gateway:
        for question in QUESTIONS:
            new = [{"type": "message", "role": "user", "content": question}]
            while new:
                items += new
                body = {"model": "mixed", "tools": [WEATHER], "stream": is_stream}
                context = {"input": new, **parent} if names_parent else {"input": items}
                response = await post(gateway, {**body, **context})
                assert response.get("previous_response_id") == (
                    parent.get("previous_response_id") if names_parent else None
                )
                assert_context(emulator.effective_context(response["id"]), items)
                items += response["output"]
                parent = {"previous_response_id": response["id"]}
                new = answers_to(response["output"])
    assert [item["type"] for item in items].count("function_call_output") >= 2
    assert {request.transport for request in emulator.requests} == {"websocket"}
    chained = ["previous_response_id" in (request.body or {}) for request in emulator.requests]
    assert chained == [False] + [True] * (len(chained) - 1)
