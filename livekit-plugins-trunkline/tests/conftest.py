"""A server, a client and an LLM for each test; nothing may be left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from livekit.plugins import trunkline
from trunkline.emulator import Emulator

from .talk import MODEL


@pytest.fixture(autouse=True, scope="session")
def _no_proxy_between() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        yield


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A server without faults, as fast as it can be."""
    async with Emulator() as running:
        yield running


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[trunkline.Client]:
    """A client of that server, with lanes."""
    tasks = asyncio.all_tasks()
    async with trunkline.Client(base_url=emulator.base_url, api_key=emulator.api_key, lanes=True) as running:
        yield running
    left = [task for task in asyncio.all_tasks() - tasks - {asyncio.current_task()} if not task.done()]
    assert [task for task in left if "trunkline" in task.get_name()] == []


@pytest.fixture
async def llm(client: trunkline.Client) -> AsyncIterator[trunkline.LLM]:
    """An LLM over that client."""
    async with trunkline.LLM(model=MODEL, client=client) as model:
        assert isinstance(model, trunkline.LLM)
        yield model


@pytest.fixture
def errors(llm: trunkline.LLM) -> list[Any]:
    """The error events of the LLM, as LiveKit's sessions receive them."""
    heard: list[Any] = []
    llm.on("error", heard.append)
    return heard
