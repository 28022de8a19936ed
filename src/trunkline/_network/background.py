"""Tasks that the library starts itself, and calls into event loops that may be stopped or closed.

An event loop can end under a task: ``loop.close()`` cancels nothing. asyncio reports such a task when it is
garbage-collected, and its coroutine is closed where it can no longer await. Therefore every task is kept here
until it is done, and one whose loop is closed is ended explicitly and silently.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()
_MAX_AWAITS = 100
"""How often a coroutine may await while it is being closed."""


def in_background(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task in the running event loop and keep it until it is done."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    keep(task)
    return task


def keep(task: asyncio.Task[Any]) -> None:
    """Keep a task until it is done, or until `bury_the_dead` finds its event loop closed."""
    _running.add(task)
    task.add_done_callback(_running.discard)


def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks. Those of a closed event loop are left alone: they will not run again."""
    for task in list(tasks):
        if not task.get_loop().is_closed():
            task.cancel()


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until tasks have ended; return at once when their event loop does not run."""
    waiting = [task for task in tasks if not task.done()]
    if waiting and waiting[0].get_loop().is_running():
        await asyncio.wait(waiting)


def bury_the_dead() -> None:
    """End the tasks whose event loop was closed, without a report."""
    for task in list(_running):
        if task.get_loop().is_closed():
            _bury(task)


def _bury_at_exit() -> None:
    for task in list(_running):
        if not task.get_loop().is_running():  # one that runs belongs to another thread
            _bury(task)


atexit.register(_bury_at_exit)


def _bury(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    with suppress(AttributeError):  # a task factory may give other tasks
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - typeshed does not know it
    work: Any = task.get_coro()
    # Cancelled and not closed: closing does not reach into the asynchronous generators that it waits for, and
    # those would report what their clean-up raises.
    running = running_loop()
    asyncio._set_running_loop(None)  # clean-up must not take another loop for its own
    try:
        with suppress(BaseException):
            for _ in range(_MAX_AWAITS):
                work.throw(asyncio.CancelledError())
        with suppress(Exception):
            work.close()
    finally:
        asyncio._set_running_loop(running)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call now, or soon in the thread of an event loop that runs in another one."""
    if not loop.is_running() or running_loop() is loop:
        callback()
        return
    with suppress(RuntimeError):  # it was closed meanwhile
        loop.call_soon_threadsafe(callback)


class Unstoppable(Coroutine[Any, Any, None]):
    """A short clean-up that runs even if its task is cancelled before its first step.

    `asyncio.run` cancels every task when its main task returns, the one that was started last included.
    """

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._is_begun = False

    def send(self, value: Any) -> Any:
        self._is_begun = True
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        if not self._is_begun:
            return self.send(None)
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._work.__await__()


__all__ = [
    "Unstoppable",
    "bury_the_dead",
    "call_in",
    "cancel",
    "ended",
    "in_background",
    "keep",
    "running_loop",
]
