"""Deadline timer of one attempt.

One timer, moved on when it fires: an event costs nothing but the note of its time.
"""

from __future__ import annotations

from collections.abc import Callable

from .._network.world import Timer, World
from ..options import Deadlines, Due, Phase


class Watch:
    """Calls back when nothing arrived in time.

    Args:
        deadlines: the limits.
        started_at: the start of the turn, for the limit ``total``.
        world: the clock and its timers.
        latest: gives the time of the latest event.
        on_due: called once, with the deadline that passed.
    """

    __slots__ = ("_deadlines", "_latest", "_on_due", "_phase", "_started_at", "_timer", "_world")

    def __init__(
        self,
        deadlines: Deadlines,
        started_at: float,
        world: World,
        latest: Callable[[], float],
        on_due: Callable[[Due], None],
    ) -> None:
        self._latest = latest
        self._deadlines = deadlines
        self._started_at = started_at
        self._world = world
        self._on_due = on_due
        self._phase = Phase.FIRST_EVENT
        self._timer: Timer | None = None

    def enter(self, phase: Phase) -> None:
        """Watch over another phase from now on: its limit may be shorter, or the first that is set."""
        self.stop()
        self._phase = phase
        self._plan()

    def stop(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        due = self._due()
        if due is not None:
            self._timer = self._world.call_later(due.at - self._world.clock(), self._look)

    def _look(self) -> None:
        due = self._due()
        if due is None or self._world.clock() < due.at:
            self._plan()
        else:
            self._timer = None
            self._on_due(due)

    def _due(self) -> Due | None:
        return self._deadlines.due(self._phase, self._started_at, self._latest())
