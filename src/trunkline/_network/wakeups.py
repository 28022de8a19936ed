"""Waking whoever waits for an event: once the socket has been read, not a round of the event loop later.

Most events come one by one and find a task that waits. With futures, each of them would make one, end it,
and leave the event loop a callback for its next round, which asks the kernel for news before it calls: most
of what such an event costs, and time that its reader loses. A `Wait` serves for one wait after the other,
and `Wakeups` go on with the tasks themselves when everything that was read has been handed out, so that a
task finds all of it, and nothing half done.

asyncio has room for this: a task may wait for any `Future-like object`_. Where a task runs already, because
what it waits for ends inside of it, the event loop calls in its next round as it always does.

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
    """The waits that are over, and the tasks to go on with.

    The attributes are for the callback of every frame, which asks nothing more than it must.

    Attributes:
        due: waits that are over and whose tasks have not gone on.
        is_reading: a frame is being handed out; whoever does so calls `flush` or `plan` afterwards.
        is_planned: the event loop will call `flush`.
        loop: the event loop of the tasks; ``None`` until the first wait.
    """

    __slots__ = ("due", "is_planned", "is_reading", "loop")

    def __init__(self) -> None:
        self.due: list[Wait] = []
        self.is_reading = False
        self.is_planned = False
        self.loop: asyncio.AbstractEventLoop | None = None

    def plan(self) -> None:
        """Resume the tasks in the next iteration of the event loop, which need not run at this moment.

        `asyncio.run` cancels tasks while no loop runs. Those of a closed loop are not resumed any more.
        """
        if self.is_planned:
            return
        loop = self.loop = self.loop or asyncio.get_running_loop()
        if not loop.is_closed():
            self.is_planned = True
            loop.call_soon(self._on_round)

    def flush(self) -> None:
        """Go on with the tasks now, in the order in which their waits ended."""
        if asyncio.current_task() is not None:  # one task cannot go on inside another
            self.plan()
            return
        due = self.due
        try:
            while due:
                wait = due.pop(0)
                go_on, wait.go_on = wait.go_on, None
                if go_on is not None:
                    wait.context.run(go_on, wait)
        except BaseException:  # the program is being ended by one of them
            self.plan()
            raise

    def _on_round(self) -> None:
        self.is_planned = False
        self.flush()


class Wait:
    """What one task at a time waits for, again and again. Cancelling ends the wait and loses nothing.

    It may be awaited again after each end. The owner checks first that there is something to wait for.

    Attributes:
        is_awaited: a task waits.
        go_on: lets the task go on, once; ``None`` when none waits or has still to go on.
        context: where it goes on.
    """

    __slots__ = ("_asyncio_future_blocking", "_error", "_wakeups", "context", "go_on", "is_awaited")

    go_on: Callable[[Wait], object] | None
    context: Context

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        if wakeups.loop is None:
            wakeups.loop = running_loop()
        self._error: BaseException | None = None
        self._asyncio_future_blocking = False
        self.go_on = None
        self.is_awaited = False

    def end(self) -> None:
        """What is waited for is there. Does nothing when nobody waits."""
        if self.is_awaited:
            self.is_awaited = False
            wakeups = self._wakeups
            wakeups.due.append(self)
            if not wakeups.is_reading:
                wakeups.plan()

    def end_with(self, error: BaseException) -> None:
        """Raise this where it is waited for. Does nothing when nobody waits."""
        if self.is_awaited:
            self._error = error
            self.end()

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for the end. Cancelling ends the wait and loses nothing.

        Raises:
            UsageError: another task waits.
        """
        if self.go_on is not None:
            raise UsageError("another task is already reading this stream; read each stream from one task")
        self._asyncio_future_blocking = True
        yield self

    # What a task asks of something that it waits for.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the tasks that wait, which need not run at this moment."""
        return self._wakeups.loop or asyncio.get_running_loop()

    def add_done_callback(self, callback: Callable[[Wait], object], *, context: Context) -> None:
        """A task waits, and is to be called back in its context."""
        self.go_on, self.context = callback, context
        self.is_awaited = True

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled. ``False``: its wait is over already, and it finds out by itself."""
        was_awaited = self.is_awaited
        self.end_with(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return was_awaited

    def result(self) -> None:
        """How the wait ended, for the task that goes on.

        Raises:
            BaseException: what it was ended with; when the task was cancelled, a `CancelledError`.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __repr__(self) -> str:
        state = "awaited" if self.is_awaited else "over" if self.go_on is not None else "free"
        return f"<{type(self).__name__}: {state}>"
