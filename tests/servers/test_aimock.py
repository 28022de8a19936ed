"""npm's `@copilotkit/aimock`: it ignores lanes and parents, and its journal has the requests."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

import trunkline

from .conftest import livekit
from .programs import NODE, NPM, free_port, serving
from .talks import NAMES, TURNS, Contexts, Figures, Item, two_conversations, two_sessions

MODEL = "gpt-5.5"


def fixtures() -> list[dict[str, Any]]:
    """A call for each question about the weather, and an answer for everything else."""
    found: list[dict[str, Any]] = []
    for name in NAMES:
        call = {"id": f"call_{name}", "name": "get_weather", "arguments": json.dumps({"city": name})}
        found += [
            {"match": {"toolCallId": call["id"]}, "response": {"content": f"12 degrees in {name}."}},
            {"match": {"userMessage": TURNS[1].format(name)}, "response": {"toolCalls": [call]}},
        ]
        for turn in (TURNS[0], *TURNS[2:]):
            words = turn.format(name)
            found.append({"match": {"userMessage": words}, "response": {"content": f"You said: {words}"}})
    return found


@pytest.fixture
async def base_url(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    (tmp_path / "fixtures.json").write_text(json.dumps({"fixtures": fixtures()}))
    (tmp_path / "aimock.json").write_text(json.dumps({"llm": {"fixtures": str(tmp_path / "fixtures.json")}}))
    async with serving(
        *(NODE, NPM / "node_modules/.bin/aimock", "--config", tmp_path / "aimock.json"),
        *("--host", "127.0.0.1", "--port", str(port)),
        port=port,
        folder=tmp_path,
    ) as url:
        yield url


@pytest.fixture
def contexts(base_url: str) -> Contexts:
    def find(answer: str) -> Sequence[Item]:
        with urllib.request.urlopen(base_url.replace("/v1", "/__aimock/journal")) as journal:
            entries = json.load(journal)
        for entry in entries:
            if entry["response"]["fixture"]["response"].get("content") == answer:
                context = [item for said in entry["body"]["messages"] for item in as_items(said)]
                return [*context, {"role": "assistant", "content": answer}]
        raise AssertionError(f"no answer is {answer!r}")

    return find


def as_items(said: dict[str, Any]) -> list[Item]:
    """The items of a message in the form of chat completions, in which aimock keeps all requests."""
    if said["role"] == "tool":
        return [{"type": "function_call_output", "call_id": said["tool_call_id"], "output": said["content"]}]
    calls = [
        {"type": "function_call", "call_id": call["id"], **call["function"]}
        for call in said.get("tool_calls", ())
    ]
    return [{"role": said["role"], "content": said["content"]}, *calls] if said["content"] else calls


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_conversations(
    base_url: str, contexts: Contexts, transport: Literal["websocket", "http"]
) -> None:
    turns = Figures()
    async with trunkline.Client(
        base_url=base_url, api_key="sk-any", transport=transport, hooks=turns.hooks
    ) as client:
        await two_conversations(client, contexts, model=MODEL, store=True)
    assert turns.modes == ["full"] * 10
    assert turns.attempts == len(turns)


async def test_lanes_are_refused_with_their_remedy(base_url: str) -> None:
    async with trunkline.Client(base_url=base_url, api_key="sk-any", lanes=True) as client:
        with pytest.raises(trunkline.TrunklineError, match="lanes=False"):
            await client.conversation(model=MODEL).run(TURNS[0].format(NAMES[0]))


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_sessions_of_livekit(
    base_url: str, contexts: Contexts, transport: Literal["websocket", "http"]
) -> None:
    turns = Figures()
    async with (
        trunkline.Client(
            base_url=base_url, api_key="sk-any", transport=transport, hooks=turns.hooks
        ) as client,
        livekit(client, MODEL) as llm,
    ):
        await two_sessions(llm, contexts)
    assert turns.transports == {transport}
