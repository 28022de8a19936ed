"""Fixtures that several test modules share. None but the first is used unless it is asked for."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import math
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import trunkline
from trunkline.emulator import Emulator

from .peer import complaints, no_proxy, opened, server
from .waiting import TIME_SCALE, until

__all__ = ["complaints", "no_proxy", "opened", "server"]

_HERE = Path(__file__).parent
_DESCRIPTORS = "/dev/fd"  # on Linux and macOS
_OWN_WATCH = (_HERE / "emulator",)


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> None:
    """Watch every asynchronous test; those of the emulator have a watch of their own."""
    if not inspect.iscoroutinefunction(request.function):
        return
    if not any(directory in request.path.parents for directory in _OWN_WATCH):
        request.getfixturevalue("watched")


@pytest.fixture
async def watched() -> AsyncIterator[None]:
    """No task and no socket is left, and asyncio has nothing to complain of."""
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = math.inf
    loop.set_debug(True)
    before, tasks = _sockets(), asyncio.all_tasks()
    gc.freeze()  # what was there before is not looked through again
    with _Complaints(loop) as heard:
        yield
        await until(lambda: not _others(tasks), "tasks end", describe=lambda: _others(tasks))
        await until(lambda: _sockets() <= before, "sockets close", describe=_sockets)
        gc.collect()
        await asyncio.sleep(0)
    gc.unfreeze()
    assert heard == []


def _others(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - before - {asyncio.current_task()}


def _sockets() -> int:
    """How many sockets this process has open; none where descriptors cannot be listed, as on Windows."""
    found = 0
    for descriptor in os.listdir(_DESCRIPTORS) if os.path.isdir(_DESCRIPTORS) else []:
        try:
            found += stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
        except OSError:  # the one with which the directory was read
            continue
    return found


class _Complaints(logging.Handler):
    """What asyncio reports: by its exception handler, and in its log."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.WARNING)
        self._loop = loop
        self._heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._heard.append(f"{context['message']}: {context.get('exception')!r}")

    def __enter__(self) -> list[str]:
        self._loop.set_exception_handler(self._hear)
        logging.getLogger("asyncio").addHandler(self)
        return self._heard

    def __exit__(self, *_: object) -> None:
        logging.getLogger("asyncio").removeHandler(self)
        self._loop.set_exception_handler(None)


@pytest.fixture(autouse=True, scope="session")
def _no_proxy_between() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
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
    """A client of that server, with lanes. Time-outs that a test does not speak of are long."""
    deadlines = trunkline.Deadlines(connect=10 * TIME_SCALE, first_event=15 * TIME_SCALE)
    async with trunkline.Client(
        base_url=emulator.base_url, api_key=emulator.api_key, lanes=True, deadlines=deadlines
    ) as running:
        yield running
