"""The event loop of a client: the one in which it is first used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import WrongEventLoop


class LoopAffinity:
    """Binds a client to one event loop, because sockets and tasks cannot move to another.

    Args:
        on_bound: called once, when the loop is known.
    """

    __slots__ = ("_loop", "_on_bound")

    def __init__(self, on_bound: Callable[[], object]) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_bound = on_bound

    def check(self) -> None:
        """Bind to the running loop, if none is bound yet.

        Raises:
            WrongEventLoop: another loop is bound.
            RuntimeError: no event loop is running.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._on_bound()
        elif self._loop is not loop:
            raise WrongEventLoop("this client belongs to another event loop; create one client for each loop")

    @property
    def is_stopped(self) -> bool:
        """Whether the bound loop does not run, so that nothing can be awaited in it."""
        return self._loop is not None and not self._loop.is_running()


__all__ = ["LoopAffinity"]
