"""Tasks started by the library, and calls into event loops that may be stopped or closed.

``loop.close()`` does not cancel tasks. asyncio reports a pending task when it is garbage-collected, and its
coroutine is closed when it can no longer await. Therefore every task is kept here until it is done; if its
event loop is closed, it is ended explicitly and without a report.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()
_MAX_AWAITS = 100
"""The number of awaits after which the clean-up of a coroutine is given up."""


def in_background(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task in the running event loop and keep it until it is done."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    keep(task)
    return task


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Run a function in a thread of its own.

    The threads of the event loop are not used: tools and name resolution of the application may occupy them.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # one of several waiting tasks cannot cancel it for the others

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # the system has no thread left
        future.set_exception(error)
    return future


def keep(task: asyncio.Task[Any]) -> None:
    """Keep a task until it is done, or until `bury_the_dead` finds its event loop closed.

    May be called again for the same task.
    """
    if task not in _running:
        _running.add(task)
        task.add_done_callback(_running.discard)


def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks. Tasks of a closed event loop are skipped: they never run again."""
    for task in list(tasks):
        if not task.get_loop().is_closed():
            task.cancel()


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until tasks have ended. Returns immediately if their event loop does not run."""
    waiting = [task for task in tasks if not task.done()]
    if waiting and waiting[0].get_loop().is_running():
        await asyncio.wait(waiting)


def bury_the_dead() -> None:
    """End the tasks whose event loop was closed, without a report."""
    for task in list(_running):
        if task.get_loop().is_closed():
            _bury(task)


_inherited: list[asyncio.Task[Any]] = []
"""The tasks of the parent of a forked process: kept, so that no clean-up uses the parent's sockets."""


def _begin_in_child() -> None:
    _inherited.extend(_running)
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


@atexit.register
def _bury_at_exit() -> None:
    for task in list(_running):
        # A loop that still runs belongs to a daemon thread, which executes the task right now.
        if not task.get_loop().is_running():
            _bury(task)


def _bury(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    # Only this attribute prevents the report "Task was destroyed but it is pending": asyncio's own functions
    # set it for the same purpose. A task factory may give tasks without it.
    with suppress(AttributeError):
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - unknown to typeshed
    # Clean-up code that looks for the running event loop must not find that of the caller.
    running = running_loop()
    asyncio._set_running_loop(None)
    try:
        _cancel_by_hand(task.get_coro())
    finally:
        asyncio._set_running_loop(running)


def _cancel_by_hand(work: Any) -> None:
    """Cancel a coroutine whose event loop is closed. Exceptions of its clean-up are dropped.

    ``work.close()`` alone does not end asynchronous generators that the coroutine waits for; they would
    report what their clean-up raises. Each await of the clean-up is cancelled too: nothing would resume it.
    """
    for _ in range(_MAX_AWAITS):
        try:
            work.throw(asyncio.CancelledError())
        except BaseException:
            return
    with suppress(Exception):
        work.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread; ``None`` for none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call a function in the thread of an event loop; now, unless that loop runs in another thread."""
    if not loop.is_running() or running_loop() is loop:
        callback()
        return
    with suppress(RuntimeError):  # the loop was closed in the meantime
        loop.call_soon_threadsafe(callback)


class Unstoppable(Coroutine[Any, Any, None]):
    """A short clean-up that runs even if its task is cancelled before its first step.

    `asyncio.run` cancels all tasks when its main task returns, including a task that has just been started.
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
    "in_thread",
    "keep",
    "running_loop",
]
