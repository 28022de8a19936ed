"""Conversations with the emulated servers of others: the rows of docs/endpoints.md that name a quirk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

import trunkline
from trunkline.emulator import QUIRKS, Emulator

from .servers.talks import Figures, two_conversations, upstream

PAGE = Path(__file__).parent.parent / "docs" / "endpoints.md"
Transport: TypeAlias = Literal["auto", "http"]

DELTAS_OF_SOCKETS = {("auto", True), ("auto", False)}
DELTAS_OF_STORES = {("auto", True), ("http", True)}
DELTAS = DELTAS_OF_SOCKETS | DELTAS_OF_STORES
# How the turns of `auto` go, and for which transport and `store` they are chained.
SERVERS: dict[str, tuple[str, set[tuple[str, bool]]]] = {
    "vllm": ("websocket", DELTAS),
    "litellm": ("websocket", DELTAS),
    "xai": ("websocket", set()),
    "azure": ("websocket", DELTAS),
    "ollama": ("http", set()),
    "codex": ("websocket", DELTAS),
    "proxy": ("http", DELTAS_OF_STORES),
    "proxy-limit": ("websocket", DELTAS),
}


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("transport", ["auto", "http"])
@pytest.mark.parametrize("quirk", SERVERS)
async def test_every_turn_sees_the_whole_context(quirk: str, transport: Transport, store: bool) -> None:
    over, chained = SERVERS[quirk]
    turns = Figures()
    async with (
        Emulator(quirks=[quirk]) as emulator,
        trunkline.Client(
            base_url=emulator.base_url, api_key=emulator.api_key, transport=transport, hooks=turns.hooks
        ) as client,
    ):
        await two_conversations(client, upstream(emulator), model="gpt-6-astra", store=store)
    assert turns.transports == {over if transport == "auto" else "http"}
    assert turns.modes.count("delta") == (8 if (transport, store) in chained else 0)


def test_the_page_has_every_emulated_server() -> None:
    assert set(re.findall(r"\| `--quirk ([\w-]+)` \|", PAGE.read_text())) == set(SERVERS) == set(QUIRKS)
