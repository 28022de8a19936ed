"""Tests with servers of others. They are skipped outside the environment of `make test-servers`."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import trunkline

HERE = Path(__file__).parent
INSTALLED = importlib.util.find_spec("fastresponses") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))  # of the packages of others
            item.add_marker(pytest.mark.skipif(not INSTALLED, reason="run them with: make test-servers"))


@asynccontextmanager
async def livekit(client: trunkline.Client, model: str, **options: Any) -> AsyncIterator[Any]:
    """LiveKit's LLM on this client."""
    from livekit.plugins import trunkline as plugin  # type: ignore[import-not-found,unused-ignore]

    async with plugin.LLM(model=model, client=client, **options) as llm:
        yield llm
