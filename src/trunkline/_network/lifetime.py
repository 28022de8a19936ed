"""Lifetime: the end of a client that is not closed, with its last reference or with its event loop.

The event loop references sockets, timers and tasks, and these reference the pool. None of them references the
client, so that a dropped client is collected immediately. Its `Lifetime` then ends them.

A forked process has copies of all clients, whose sockets are the parent's. They are kept there and never
ended: a CLOSE frame, a shutdown or a change of the selector would reach the parent.
"""

from __future__ import annotations

import asyncio
import os
import warnings
import weakref
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any

from .background import bury_the_dead, call_in
from .http import HttpTransport
from .pool import Pool

_alive: weakref.WeakSet[Lifetime] = weakref.WeakSet()
_inherited: list[Lifetime] = []


class Lifetime:
    """Ends the connections of a client that was not closed.

    Args:
        pool: the sockets of the client.
        http: the HTTP transport of the client.

    Attributes:
        is_inherited: the client was used in the parent of this process.
    """

    def __init__(self, pool: Pool, http: HttpTransport) -> None:
        self._pool = pool
        self._http = http
        self.is_inherited: bool = False
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._watch: AsyncGenerator[None, None] | None = None

    def begin(self, owner: object) -> None:
        """Watch the owner and the running event loop. May be called again; the first call counts."""
        if self._finalizer is not None or self._is_over:
            return
        bury_the_dead()
        _alive.add(self)
        self._loop = asyncio.get_running_loop()
        self._finalizer = weakref.finalize(owner, self._forgotten)
        self._watch = self._until_the_loop_ends()
        _step(self._watch.__anext__())

    def inherit(self) -> None:
        """This process was forked: end nothing, and report nothing."""
        self.is_inherited = self._is_over = True
        if self._finalizer is not None:
            self._finalizer.detach()

    def over(self) -> None:
        """Stop watching: the client was closed. May be called again."""
        self._is_over = True
        _alive.discard(self)
        if self._finalizer is not None:
            self._finalizer.detach()
        watch, self._watch = self._watch, None
        if watch is not None:
            _step(watch.aclose())

    def end(self) -> None:
        """Drop all sockets and requests now. May be called again, and when the event loop is closed."""
        if self.is_inherited:
            return
        self._pool.end()
        self._http.end()
        self.over()
        bury_the_dead()

    def _forgotten(self) -> None:
        was_used = self._pool.was_used or self._http.was_used
        try:
            if was_used:  # raises if a filter turns warnings into errors
                warnings.warn(
                    f"a trunkline.Client of {self._http.authority} was not closed: use it as "
                    "`async with trunkline.Client(...) as client`, or call `await client.close()`",
                    ResourceWarning,
                    stacklevel=3,
                )
        finally:
            call_in(self._loop, self.end)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        # `asyncio.run` closes unfinished asynchronous generators after it has cancelled all tasks and before
        # the loop stops. That is the last moment at which transports can be closed in order.
        try:
            yield
        finally:
            if not self._is_over:
                with suppress(Exception):  # asyncio would report it at the exit of the program
                    self._pool.end()
                    await self._http.close()


def _begin_in_child() -> None:
    for lifetime in list(_alive):
        lifetime.inherit()
        _inherited.append(lifetime)
    _alive.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def _step(work: Coroutine[Any, Any, Any]) -> None:
    """Run a step of the generator, which does not await."""
    with suppress(StopIteration, StopAsyncIteration, RuntimeError):
        work.send(None)


__all__ = ["Lifetime"]
