"""Resume tasks waiting for events as soon as the socket buffer is parsed.

With a future per event, each event would create a future, resolve it, and wait for the next iteration of the
event loop, which polls the sockets first. That is most of the cost of an event, and latency for its reader.
Instead, a `Wait` is used again for each event, and `Wakeups` resumes the tasks directly after the last frame
of the buffer, so that a task finds all received events and no half-updated state.

asyncio supports this: a task may wait for any `Future-like object`_. If a wait ends while a task runs, its
own task is resumed in the next iteration of the event loop, as with a future.

.. _Future-like object: https://docs.python.org/3/library/asyncio-future.html#asyncio.isfuture
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from ..errors import UsageError
from .background import running_loop


class Wakeups:
    """Queue of ended waits whose tasks are to be resumed.

    The attributes are public for `FrameListener`, which reads them for every frame.

    Attributes:
        due: waits that have ended and whose tasks were not resumed.
        is_reading: True during frame dispatch; the dispatcher must then call `flush` or `plan`.
        is_planned: the event loop will call `flush` in its next iteration.
        loop: the event loop of the tasks; ``None`` until the first wait.
    """

    __slots__ = ("due", "is_planned", "is_reading", "loop")

    def __init__(self) -> None:
        self.due: list[Wait] = []
        self.is_reading: bool = False
        self.is_planned: bool = False
        self.loop: asyncio.AbstractEventLoop | None = None

    def plan(self) -> None:
        """Resume the tasks in the next iteration of the event loop.

        The loop need not run: `asyncio.run` cancels tasks while it does not. Tasks of a closed loop are not
        resumed.
        """
        if self.is_planned:
            return
        loop = self.loop = self.loop or asyncio.get_running_loop()
        if not loop.is_closed():
            self.is_planned = True
            loop.call_soon(self._on_next_iteration)

    def flush(self) -> None:
        """Resume the tasks now, in the order in which their waits ended."""
        if asyncio.current_task() is not None:  # asyncio cannot run one task inside another
            self.plan()
            return
        due = self.due
        try:
            while due:
                wait = due.pop(0)
                resume, wait.resume = wait.resume, None
                if resume is not None:
                    wait.context.run(resume, wait)
        except BaseException:
            # KeyboardInterrupt or SystemExit in a task. The other tasks are resumed if the loop runs again.
            self.plan()
            raise

    def _on_next_iteration(self) -> None:
        self.is_planned = False
        self.flush()


class Wait:
    """Reusable awaitable for one task at a time.

    It may be awaited again after each end. The owner awaits it only while its condition does not hold.
    Cancelling ends the wait and loses nothing.

    Attributes:
        is_awaited: a task waits.
        resume: the callback that resumes the task; ``None`` if no task waits or is still to be resumed.
        context: the context of that callback.
    """

    __slots__ = ("_asyncio_future_blocking", "_error", "_wakeups", "context", "is_awaited", "resume")

    resume: Callable[[Wait], object] | None
    context: Context

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        if wakeups.loop is None:
            wakeups.loop = running_loop()
        self._error: BaseException | None = None
        self._asyncio_future_blocking = False
        self.resume = None
        self.is_awaited: bool = False

    def end(self) -> None:
        """Resume the waiting task, if any."""
        if self.is_awaited:
            self.is_awaited = False
            wakeups = self._wakeups
            wakeups.due.append(self)
            if not wakeups.is_reading:
                wakeups.plan()

    def end_with(self, error: BaseException) -> None:
        """Resume the waiting task, if any, and raise this exception in it."""
        if self.is_awaited:
            self._error = error
            self.end()

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait until `end` or `end_with` is called.

        Raises:
            UsageError: another task waits.
        """
        if self.resume is not None:
            raise UsageError("another task is already reading this stream; read each stream from one task")
        self._asyncio_future_blocking = True
        yield self

    # The interface of a future that asyncio's tasks use.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the waiting tasks. It need not run."""
        return self._wakeups.loop or asyncio.get_running_loop()

    def add_done_callback(self, callback: Callable[[Wait], object], *, context: Context) -> None:
        """Called by a task that begins to wait."""
        self.resume, self.context = callback, context
        self.is_awaited = True

    def cancel(self, msg: object = None) -> bool:
        """Called by a task that is cancelled. ``False``: the wait has ended, and the task cancels itself."""
        was_awaited = self.is_awaited
        self.end_with(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return was_awaited

    def result(self) -> None:
        """Called by the task when it resumes.

        Raises:
            BaseException: the exception given to `end_with`; `CancelledError` if the task was cancelled.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __repr__(self) -> str:
        state = "awaited" if self.is_awaited else "over" if self.resume is not None else "free"
        return f"<{type(self).__name__}: {state}>"


__all__ = ["Wait", "Wakeups"]
