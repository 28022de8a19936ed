"""vLLM's gateway `agentic-api`, with the emulator as its upstream over HTTP.

It keeps the responses itself and sends the whole context upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

import trunkline
from trunkline.emulator import Emulator

from .conftest import livekit
from .programs import BIN, free_port, serving
from .talks import Figures, two_conversations, two_sessions, upstream


@pytest.fixture
async def base_url(emulator: Emulator, tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    async with serving(
        BIN / "agentic-server",
        *("--llm-api-base", emulator.base_url.removesuffix("/v1"), "--skip-llm-ready-check"),
        *("--gateway-host", "127.0.0.1", "--gateway-port", str(port)),
        *("--db-url", f"sqlite://{tmp_path}/responses.db?mode=rwc"),
        port=port,
        folder=tmp_path,
    ) as url:
        yield url


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("lanes", [True, None])
async def test_conversations_over_websocket_send_what_is_new(
    base_url: str, emulator: Emulator, lanes: bool | None, store: bool
) -> None:
    turns = Figures()
    async with trunkline.Client(
        base_url=base_url, api_key=emulator.api_key, lanes=lanes, transport="websocket", hooks=turns.hooks
    ) as client:
        await two_conversations(client, upstream(emulator), model="gpt-5.5", store=store)
        assert client.state().sockets == (1 if lanes else 2)
    assert turns.modes == ["delta"] * 8 + ["full"] * 2
    assert turns.attempts == len(turns)


@pytest.mark.parametrize("store", [True, False])
async def test_conversations_over_http(base_url: str, emulator: Emulator, store: bool) -> None:
    turns = Figures()
    async with trunkline.Client(
        base_url=base_url, api_key=emulator.api_key, transport="http", hooks=turns.hooks
    ) as client:
        await two_conversations(client, upstream(emulator), model="gpt-5.5", store=store)
    assert turns.modes == (["delta"] * 8 + ["full"] * 2 if store else ["full"] * 10)
    assert turns.attempts == len(turns)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_sessions_of_livekit(
    base_url: str, emulator: Emulator, transport: Literal["websocket", "http"]
) -> None:
    turns = Figures()
    async with (
        trunkline.Client(
            base_url=base_url, api_key=emulator.api_key, transport=transport, hooks=turns.hooks
        ) as client,
        livekit(client, "gpt-5.5") as llm,
    ):
        await two_sessions(llm, upstream(emulator))
    assert turns.transports == {transport}
