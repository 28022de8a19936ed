"""The event loop of all synchronous transports of a process, in a thread of its own.

The thread is started with the first request, and ends with the last transport that is closed, or at the exit
of the program. A forked child does not have it, and starts one of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from .._face.pools import pools

T = TypeVar("T")

_EXIT_S = 2.0


class LoopThread:
    """A daemon thread that runs an event loop.

    Attributes:
        loop: the event loop.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="trunkline openai", daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and wait for its result.

        If the wait is interrupted, as by Ctrl-C, the coroutine is cancelled.
        """
        future = self.begin(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Close all sockets, and stop the thread."""
        self.begin(self._close()).add_done_callback(lambda _: self.loop.call_soon_threadsafe(self.loop.stop))
        self._thread.join(_EXIT_S)

    async def _close(self) -> None:
        async with asyncio.timeout(_EXIT_S / 2):
            await pools().close_all()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


class _Shared:
    """The thread of this process, and the transports that use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._users: weakref.WeakSet[object] = weakref.WeakSet()

    def used_by(self, user: object) -> LoopThread:
        """The thread, which is started unless it runs."""
        with self._lock:
            self._users.add(user)
            if self._thread is None:
                self._thread = LoopThread()
            return self._thread

    def left_by(self, user: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A transport is closed. The thread ends with the last one."""
        with self._lock:
            thread = self._thread if user in self._users else None
        if thread is None:
            return
        thread.run(work())
        with self._lock:
            self._users.discard(user)
            thread = None
            if not self._users:
                thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    def end(self) -> None:
        """End the thread, whoever uses it."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


_shared = _Shared()


def thread_of(user: object) -> LoopThread:
    """The loop thread of this process.

    Args:
        user: the transport that uses it.
    """
    return _shared.used_by(user)


def leave(user: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Close a transport. Does nothing if it did not use the thread.

    Args:
        user: the transport.
        work: closes its sockets, in the loop.
    """
    _shared.left_by(user, work)


def _begin_in_child() -> None:
    global _shared
    _shared = _Shared()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


@atexit.register
def _end_at_exit() -> None:
    _shared.end()


__all__ = ["LoopThread", "leave", "thread_of"]
