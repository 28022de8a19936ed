"""Deadline timer of one attempt.

One timer, moved on when it fires: an event costs nothing but the note of its time.
"""

from __future__ import annotations

from typing import Protocol

from .._network.world import Timer, World
from ..options import Deadlines, Due, Phase


class Watched(Protocol):
    """An attempt under watch.

    Attributes:
        progress_at: when the latest event arrived.
    """

    progress_at: float

    def on_due(self, due: Due) -> None:
        """A deadline has passed. Called once."""


class Watch:
    """Calls back when nothing arrived in time.

    Args:
        deadlines: the limits.
        started_at: the start of the turn, for the limit ``total``.
        world: the clock and its timers.
        attempt: the attempt under watch.
    """

    __slots__ = ("_attempt", "_deadlines", "_phase", "_started_at", "_timer", "_world")

    def __init__(self, deadlines: Deadlines, started_at: float, world: World, attempt: Watched) -> None:
        self._deadlines = deadlines
        self._started_at = started_at
        self._world = world
        self._attempt: Watched | None = attempt
        self._phase = Phase.FIRST_EVENT
        self._timer: Timer | None = None

    def enter(self, phase: Phase) -> None:
        """Watch over another phase from now on: its limit may be shorter, or the first that is set."""
        if self._timer is not None:
            self._timer.cancel()
        self._phase = phase
        self._look()

    def end(self) -> None:
        """Call back no more. The attempt is forgotten, so that the two are freed without the collector."""
        self._attempt = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Call back if the deadline has passed, else look again when it is due."""
        self._timer = None
        attempt = self._attempt
        if attempt is None:
            return
        due = self._deadlines.due(self._phase, self._started_at, attempt.progress_at)
        if due is None:
            return
        remaining_s = due.at - self._world.clock()
        if remaining_s > 0:
            self._timer = self._world.call_later(remaining_s, self._look)
        else:
            attempt.on_due(due)
