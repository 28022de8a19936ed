"""The end of a client that is not closed: with its last reference, or with its event loop.

Sockets, timers and tasks are referenced by the event loop, and they reference the pool. Nothing of them
references the client, so that a client that is dropped is garbage at once. Its `Lifetime` then ends them.
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any

from .background import bury_the_dead, call_in
from .http import HttpTransport
from .pool import Pool


class Lifetime:
    """What is to be ended when nobody closes the client.

    Args:
        pool: its sockets.
        http: its requests over HTTP.
    """

    def __init__(self, pool: Pool, http: HttpTransport) -> None:
        self._pool = pool
        self._http = http
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._watch: AsyncGenerator[None, None] | None = None

    def begin(self, owner: object) -> None:
        """The owner is used in the running event loop. When it is garbage-collected, everything ends."""
        if self._finalizer is not None or self._is_over:
            return
        bury_the_dead()
        self._loop = asyncio.get_running_loop()
        self._finalizer = weakref.finalize(owner, self._forgotten)
        self._watch = self._until_the_loop_ends()
        _step(self._watch.__anext__())

    def over(self) -> None:
        """The client was closed: its end needs no watch any more. May be called again."""
        self._is_over = True
        if self._finalizer is not None:
            self._finalizer.detach()
        watch, self._watch = self._watch, None
        if watch is not None:
            _step(watch.aclose())

    def end(self) -> None:
        """Drop every socket and every request now. May be called again, and when the event loop is closed."""
        self._pool.end()
        self._http.end()
        self.over()
        bury_the_dead()

    def _forgotten(self) -> None:
        was_used = self._pool.was_used or self._http.was_used
        try:
            if was_used:  # the warning may be made to raise
                warnings.warn(
                    f"a trunkline.Client of {self._http.authority} was not closed: use it as "
                    "`async with trunkline.Client(...) as client`, or call `await client.close()`",
                    ResourceWarning,
                    stacklevel=3,
                )
        finally:
            call_in(self._loop, self.end)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        # asyncio closes unfinished asynchronous generators after it has cancelled all tasks, as long as the
        # loop still runs. That is the last moment at which transports can be closed in good order.
        try:
            yield
        finally:
            if not self._is_over:
                with suppress(Exception):  # asyncio would report it, and there is nothing to be done
                    self._pool.end()
                    await self._http.close()


def _step(work: Coroutine[Any, Any, Any]) -> None:
    """Run what does not await."""
    with suppress(StopIteration, StopAsyncIteration, RuntimeError):
        work.send(None)


__all__ = ["Lifetime"]
