"""Heartbeat of one answer: harmless events in its silences, and the end of a caller that takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from .._network.world import Timer, World


class Heartbeat:
    """Watches the writes of one answer, with a timer that no write renews.

    Args:
        world: the clock and its timers.
        every_s: the silence after which a sign of life is written, in seconds.
        sign: makes the write of a sign; ``None`` from it where none may be written now.
        patience_s: the time in which the caller must take a write, in seconds; ``None`` for no limit.
        give_up: called once if it does not.
    """

    def __init__(
        self,
        world: World,
        every_s: float,
        sign: Callable[[], Coroutine[None, None, None] | None],
        *,
        patience_s: float | None = None,
        give_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._world = world
        self._every_s = every_s
        self._sign = sign
        self._patience_s = patience_s
        self._give_up = give_up
        self._writes = 0
        self._wrote_at = world.clock()
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer = world.call_later(every_s, self._look)

    def begin_write(self) -> None:
        """A write begins."""
        self._wrote_at = self._world.clock()
        self._writes += 1

    def end_write(self) -> None:
        """A write has ended: the caller, or a buffer, has taken it."""
        self._writes -= 1

    def end(self) -> None:
        """Write no more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._world.clock()
        silent_s = now - self._wrote_at
        if self._writes:  # a sign would wait behind it
            if self._patience_s is not None and silent_s >= self._patience_s:
                self._give_up()
                return
            silent_s = 0.0
        elif silent_s >= self._every_s:
            silent_s, self._wrote_at = 0.0, now
            sign = self._sign()
            if sign is not None:
                self._task = asyncio.ensure_future(self._write(sign))
        self._timer = self._world.call_later(self._every_s - silent_s, self._look)

    async def _write(self, sign: Coroutine[None, None, None]) -> None:
        self.begin_write()
        try:
            await sign
        finally:
            self.end_write()


__all__ = ["Heartbeat"]
