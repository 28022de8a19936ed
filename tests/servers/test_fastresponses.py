"""`fastresponses`: one response at a time on a socket, without lanes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import pytest

import trunkline

from .conftest import HERE, livekit
from .programs import BIN, free_port, serving
from .talks import Contexts, Figures, Item, two_conversations, two_sessions

KEY = "sk-fast"


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    def find(answer: str) -> Sequence[Item]:
        for line in (tmp_path / "record").read_text().splitlines():
            if (entry := json.loads(line))["answer"] == answer:
                return [*entry["context"], {"role": "assistant", "content": answer}]
        raise AssertionError(f"no answer of the agent is {answer!r}")

    return find


@pytest.fixture
async def base_url(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    async with serving(
        *(BIN / "fastresponses", "serve", f"{HERE / 'agent.py'}:agent"),
        *("--host", "127.0.0.1", "--port", str(port), "--api-key", KEY),
        port=port,
        folder=tmp_path,
        environment={"RECORD": str(tmp_path / "record")},
    ) as url:
        yield url


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_conversations(
    base_url: str, contexts: Contexts, transport: Literal["websocket", "http"], store: bool
) -> None:
    turns = Figures()
    async with trunkline.Client(
        base_url=base_url, api_key=KEY, transport=transport, hooks=turns.hooks
    ) as client:
        await two_conversations(client, contexts, model="agent", store=store)
    kept = transport == "websocket" or store
    assert turns.modes == (["delta"] * 8 + ["full"] * 2 if kept else ["full"] * 10)
    assert turns.attempts == len(turns)


async def test_lanes_are_refused_with_their_remedy(base_url: str) -> None:
    async with trunkline.Client(base_url=base_url, api_key=KEY, lanes=True) as client:
        with pytest.raises(trunkline.TrunklineError, match="lanes=False"):
            await client.conversation(model="agent").run("Good morning.")


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_sessions_of_livekit(
    base_url: str, contexts: Contexts, transport: Literal["websocket", "http"]
) -> None:
    turns = Figures()
    async with (
        trunkline.Client(base_url=base_url, api_key=KEY, transport=transport, hooks=turns.hooks) as client,
        livekit(client, "agent") as llm,
    ):
        await two_sessions(llm, contexts)
    assert turns.transports == {transport}
