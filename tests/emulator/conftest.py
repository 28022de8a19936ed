from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from trunkline.emulator import Emulator

from .wire import Socket, Wire, wired


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        yield running


@pytest.fixture
async def wire(emulator: Emulator) -> AsyncIterator[Wire]:
    async with wired(emulator) as client:
        yield client


@pytest.fixture
async def socket(wire: Wire) -> AsyncIterator[Socket]:
    async with wire.socket() as opened:
        yield opened
