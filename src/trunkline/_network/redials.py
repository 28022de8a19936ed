"""Redials: dials to one server that are repeated while it cannot be reached, in one backoff for all of them.

::

    REACHED ──a dial cannot reach the server──▶ REFUSING
     │   ▲                                           │
     │   ├──────── a dial reaches the server ────────┘
     │   └──────── the server answers a request ─────┐
     └──a connection ends before any answer──▶ CUTTING

    REACHED   dials begin at once, side by side.
    REFUSING  one dial at a time, each after the backoff; the others wait for its result.
    CUTTING   dials begin one after another, with the backoff between them. That they succeed proves nothing:
              the server accepts connections and ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from .._decisions.redials import redial_s
from ..errors import ConnectFailed, ConnectFault, NetworkError
from .world import World

T = TypeVar("T")

UNREACHED: Final = frozenset[ConnectFault]({"unreachable", "cut"})
"""The faults of a dial that may succeed when it is repeated."""


def _ignore(error: ConnectFailed) -> None:
    """Report no refusal."""


class Redials:
    """Repeats dials to one server.

    Args:
        world: the clock, and chance, for jitter.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._refusals = 0
        self._refusal: ConnectFailed | None = None
        self._cuts = 0
        self._not_before = 0.0
        self._scouting = asyncio.Lock()
        self._pausing: set[asyncio.Future[None]] = set()

    def cut(self, where: str) -> None:
        """A connection has ended before the server answered any request on it."""
        self._cuts += 1
        self._refusal = ConnectFailed(f"{where} ends connections before it answers a request", fault="cut")

    def answered(self) -> None:
        """The server has answered a request."""
        if self._cuts:
            self._cuts = 0
            for pause in self._pausing:
                if not pause.done():
                    pause.set_result(None)

    async def connect(
        self,
        dial: Callable[[], Awaitable[T]],
        until: float | None,
        *,
        repeats: Collection[ConnectFault],
        on_refusal: Callable[[ConnectFailed], None] = _ignore,
    ) -> T:
        """The result of the first dial that succeeds.

        Args:
            dial: one dial.
            until: the time on the clock of the world at which the last refusal is raised; ``None`` for never.
            repeats: the faults after which the dial is repeated; others are raised at once.
            on_refusal: called with each failure that another dial follows, and with the reason of a wait.

        Raises:
            NetworkError: the dial failed in a way that a repetition does not mend, or until the end.
        """
        while True:
            if self._cuts:
                await self._queue_up(until, on_refusal)
                result = await self._once(dial, repeats, on_refusal)
            elif not self._refusals:
                result = await self._once(dial, repeats, on_refusal)
            elif await self._is_scout(until):
                try:
                    if not self._refusals:  # the scout before has reached the server
                        continue
                    await self._pause(self._not_before, until)
                    result = await self._once(dial, repeats, on_refusal)
                finally:
                    self._scouting.release()
            else:
                assert self._refusal is not None
                on_refusal(self._refusal)
                raise self._refusal
            if result is not None:
                return result

    async def _once(
        self,
        dial: Callable[[], Awaitable[T]],
        repeats: Collection[ConnectFault],
        on_refusal: Callable[[ConnectFailed], None],
    ) -> T | None:
        """One dial. ``None`` if it is to be repeated."""
        is_first = not self._refusals
        try:
            result = await dial()
        except ConnectFailed as error:
            if error.fault not in repeats:
                raise
            # Dials that were side by side fail together, and count as one.
            if not is_first or not self._refusals:
                self._refusals += 1
                wait_s = redial_s(self._refusals, self._world.random())
                self._not_before = self._world.clock() + wait_s
            self._refusal = error
            on_refusal(error)
            return None
        except NetworkError:
            self._refusals = 0  # the server has answered
            raise
        self._refusals = 0
        return result

    async def _is_scout(self, until: float | None) -> bool:
        """Wait for the right to dial. ``False`` if the time ends before."""
        try:
            async with asyncio.timeout(until - self._world.clock() if until is not None else None):
                return await self._scouting.acquire()
        except TimeoutError:
            return False

    async def _queue_up(self, until: float | None, on_refusal: Callable[[ConnectFailed], None]) -> None:
        """Take the next time at which a dial may begin, and wait for it, but not after an answer."""
        now = self._world.clock()
        at = max(self._not_before, now)
        if at > now and self._refusal is not None:  # the reason, if the caller waits for less long
            on_refusal(self._refusal)
        if until is None or at < until:
            self._not_before = at + redial_s(self._cuts, self._world.random())
            await self._pause(at, until)
            return
        # Too many dials are due before. Only an answer lets this one begin in time.
        await self._pause(until, None)
        if self._cuts:
            assert self._refusal is not None
            raise self._refusal

    async def _pause(self, at: float, until: float | None) -> None:
        """Wait for this time, unless the deadline is earlier: then the reason is known already."""
        if until is not None and at >= until:
            assert self._refusal is not None
            raise self._refusal
        delay_s = at - self._world.clock()
        if delay_s <= 0:
            return
        waited = asyncio.get_running_loop().create_future()
        timer = self._world.call_later(delay_s, lambda: None if waited.done() else waited.set_result(None))
        self._pausing.add(waited)
        try:
            await waited
        finally:
            timer.cancel()
            self._pausing.discard(waited)


__all__ = ["UNREACHED", "Redials"]
