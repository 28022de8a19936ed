"""Redials: dials to one server that are repeated while it cannot be reached, in one backoff for all of them.

::

    REACHED ──a dial cannot reach the server──▶ REFUSING
       ▲                                           │
       └──────── a dial reaches the server ────────┘

    REACHED   dials begin at once, side by side.
    REFUSING  one dial at a time, each after the backoff; the others wait for its result.
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
    """Tell nobody of a refusal."""


class Redials:
    """Repeats dials to one server. A count of refusals above zero is the state REFUSING.

    Args:
        world: the clock, and chance, for jitter.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._refusals = 0
        self._refusal: ConnectFailed | None = None
        self._not_before = 0.0
        self._scouting = asyncio.Lock()

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
            on_refusal: called for each failure that is followed by another dial.

        Raises:
            NetworkError: the dial failed in a way that a repetition does not mend, or until the end.
        """
        while True:
            if not self._refusals:
                result = await self._once(dial, repeats, on_refusal)
            elif await self._is_scout(until):
                try:
                    if not self._refusals:  # the scout before has reached the server
                        continue
                    await self._pause(until)
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

    async def _pause(self, until: float | None) -> None:
        """Wait for the backoff, unless the time ends before: then the reason is known already."""
        if until is not None and self._not_before >= until:
            assert self._refusal is not None
            raise self._refusal
        waited = asyncio.get_running_loop().create_future()
        timer = self._world.call_later(
            max(0.0, self._not_before - self._world.clock()),
            lambda: None if waited.done() else waited.set_result(None),
        )
        try:
            await waited
        finally:
            timer.cancel()


__all__ = ["UNREACHED", "Redials"]
