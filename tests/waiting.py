"""Waiting in tests: for a condition, within a bound that one environment variable scales."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

TIME_SCALE = float(os.environ.get("TRUNKLINE_TEST_TIME_SCALE", "1"))

Result = TypeVar("Result")


async def until(
    holds: Callable[[], bool],
    what: str,
    *,
    within_s: float = 10,
    describe: Callable[[], Any] | None = None,
) -> None:
    """Let the loop run until a condition holds that has no event to wait for."""
    end = asyncio.get_running_loop().time() + within_s * TIME_SCALE
    turns = 0
    while not holds():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"timed out waiting until {what}: {describe() if describe else ''}")
        turns += 1
        await asyncio.sleep(0 if turns < 100 else 0.002)


def wait_until(met: Callable[[], object], what: str, within_s: float = 10) -> None:
    """Wait until a condition is met, outside of event loops."""
    end = time.monotonic() + within_s * TIME_SCALE
    while not met():
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting until {what}")
        time.sleep(0.005)


async def soon(wait: Awaitable[Result], within_s: float = 10) -> Result:
    """The result of an awaitable that must finish within a bound."""
    return await asyncio.wait_for(wait, within_s * TIME_SCALE)


def runs_briefly(seconds: float) -> float:
    """A short time-out that is expected to pass during the test."""
    return seconds * TIME_SCALE
