"""Fixtures that several test modules share."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import math
import os
import stat
import sys
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
_OWN_WATCH = (_HERE / "emulator", _HERE / "dropin")


def pytest_sessionfinish() -> None:
    """Write the measured coverage before xdist ends its workers.

    A worker that needs more than ten seconds to exit is killed, and coverage would write its data only then.
    """
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage is not None else None
    if measured is not None:
        measured.save()


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> None:
    """Apply `watched` to every asynchronous test; tests of the emulator have their own fixture."""
    if not inspect.iscoroutinefunction(request.function):
        return
    if not any(directory in request.path.parents for directory in _OWN_WATCH):
        request.getfixturevalue("watched")


@pytest.fixture
async def watched() -> AsyncIterator[None]:
    """Check that the test leaves no task and no socket, and that asyncio reports no problem."""
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = math.inf
    loop.set_debug(True)
    before, tasks = _sockets(), asyncio.all_tasks()
    gc.freeze()  # older objects need not be collected again
    with _Complaints(loop) as reports:
        yield
        await until(lambda: not _others(tasks), "all tasks end", describe=lambda: _others(tasks))
        await until(lambda: _sockets() <= before, "all sockets close", describe=_sockets)
        gc.collect()
        await asyncio.sleep(0)
    gc.unfreeze()
    assert reports == []


def _others(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - before - {asyncio.current_task()}


def _sockets() -> int:
    """Number of open sockets of this process; 0 where descriptors cannot be listed, as on Windows."""
    found = 0
    for descriptor in os.listdir(_DESCRIPTORS) if os.path.isdir(_DESCRIPTORS) else []:
        try:
            found += stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
        except OSError:  # the descriptor that read the directory
            continue
    return found


class _Complaints(logging.Handler):
    """Reports of asyncio: to the exception handler and to its log."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.WARNING)
        self._loop = loop
        self._reports: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._reports.append(record.getMessage())

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._reports.append(f"{context['message']}: {context.get('exception')!r}")

    def __enter__(self) -> list[str]:
        self._loop.set_exception_handler(self._report)
        logging.getLogger("asyncio").addHandler(self)
        return self._reports

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
    """A server without faults and without a pace."""
    async with Emulator() as running:
        yield running


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[trunkline.Client]:
    """A client of that server, with lanes and with long deadlines."""
    deadlines = trunkline.Deadlines(connect=10 * TIME_SCALE, first_event=15 * TIME_SCALE)
    async with trunkline.Client(
        base_url=emulator.base_url, api_key=emulator.api_key, lanes=True, deadlines=deadlines
    ) as running:
        yield running


@pytest.fixture
def chat(client: trunkline.Client) -> trunkline.Conversation:
    """A conversation with a model that repeats the last user message."""
    return client.conversation(model="echo")
