"""Threads for synchronous tools.

asyncio's default executor is not used: asyncio resolves host names in it, so that a few hung tools would stop
new connections in the whole process. Each call has its own daemon thread, which costs about 0.2 ms. A hung
call keeps its thread, but delays neither other conversations nor the exit of the interpreter.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..tracebacks import of_application

MAX_THREADS = 32

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("trunkline.tools")


class ToolThreadsFull(RuntimeError):
    """All threads are occupied by calls that timed out or were cancelled, and are still running."""


class ToolThreads:
    """The threads of one conversation: at most `limit` at a time.

    Args:
        limit: the number of calls that may run at the same time, hung ones included.
    """

    __slots__ = ("_calls", "_limit")

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._limit = limit
        self._calls: tuple[_Call, ...] = ()

    async def room(self, name: str) -> None:
        """Wait until another call may start. Cancelling ends the wait only.

        Only calls that a task awaits are waited for: they end within their time limits. Abandoned calls,
        which timed out or were cancelled, may never end.

        Args:
            name: the tool to be called, for the error.

        Raises:
            ToolThreadsFull: all threads are occupied by abandoned calls.
        """
        loop = asyncio.get_running_loop()
        while True:
            self._calls = tuple(call for call in self._calls if not call.has_ended)
            if len(self._calls) < self._limit:
                return
            awaited = [call.result for call in self._calls if not call.result.done()]
            awaited = [result for result in awaited if result.get_loop() is loop]
            if not awaited:
                raise ToolThreadsFull(
                    f"{name} was not called: {len(self._calls)} calls of tools that timed out or were "
                    "cancelled are still running in threads; make them end, as with a timeout in their I/O"
                )
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)

    async def run(self, name: str, function: Callable[..., T], given: dict[str, Any]) -> T:
        """Call the function in a thread, with the caller's context variables. Await `room` first.

        Cancelling abandons the call: its thread runs on, and its result is dropped.
        """
        call = _Call(name)
        work = contextvars.copy_context().run
        threading.Thread(
            target=call.run, args=(work, function, given), name=f"trunkline-tool-{name}", daemon=True
        ).start()
        self._calls += (call,)
        result, error = await call.result
        if error is not None:
            raise error
        return cast(T, result)


class _Call:
    """One call in a thread.

    Attributes:
        result: the returned value and the exception, of which one is ``None``. An exception is a value here,
            because a future cannot carry a StopIteration.
        has_ended: the thread has left the code of the tool. Set by the thread.
    """

    __slots__ = ("_loop", "_name", "has_ended", "result")

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        self.has_ended = False

    def run(self, work: Callable[..., Any], function: Callable[..., Any], given: dict[str, Any]) -> None:
        """Run in the thread: call the function and pass the outcome to the event loop."""
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = work(function, **given), None
        except BaseException as error:  # the awaiting task raises it
            outcome = None, error
        self.has_ended = True
        try:
            self._loop.call_soon_threadsafe(self._settle, outcome)
        except RuntimeError:  # the loop is closed, so no task awaits the result
            self._log_late_failure(outcome[1])

    def _settle(self, outcome: tuple[Any, BaseException | None]) -> None:
        if not self.result.done():
            self.result.set_result(outcome)
        else:
            self._log_late_failure(outcome[1])

    def _log_late_failure(self, error: BaseException | None) -> None:
        if error is not None:
            error = of_application(error)
            logger.error("the tool %s failed after its call was given up", self._name, exc_info=error)
