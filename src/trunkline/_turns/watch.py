"""Deadline timer of one attempt.

One timer, moved on when it fires: an event costs nothing but the note of its time.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from .._network.world import Timer, World
from ..options import Deadlines, Due, Phase

# Bound once: looking up a member of an enumeration costs more than comparing it.
_FIRST_OUTPUT: Final = Phase.FIRST_OUTPUT
_BETWEEN_EVENTS: Final = Phase.BETWEEN_EVENTS
_RESOLUTION_S: Final = 0.001
"""The shortest delay, so that a limit of 0 does not keep the event loop busy."""


class Watched(Protocol):
    """An attempt under watch.

    Attributes:
        progress_at: when the latest output arrived; before it, the first event; before that, when the latest
            part of the request left.
        alive_at: when the latest event without output, or the latest keep-alive comment, arrived.
    """

    progress_at: float
    alive_at: float

    @property
    def is_slow(self) -> bool:
        """Whether only output is open for which the limit of the first output applies."""

    def on_due(self, due: Due) -> None:
        """A deadline has passed. Called once."""

    def on_silence(self) -> None:
        """The delay of `Watch.give_up_after` has passed."""


class Watch:
    """Calls back when nothing arrived in time.

    Args:
        deadlines: the limits.
        started_at: the start of the turn, for the limit ``total``.
        world: the clock and its timers.
        attempt: the attempt under watch.
    """

    __slots__ = ("_attempt", "_deadlines", "_look_at", "_phase", "_started_at", "_timer", "_world")

    def __init__(self, deadlines: Deadlines, started_at: float, world: World, attempt: Watched) -> None:
        self._deadlines = deadlines
        self._started_at = started_at
        self._world = world
        self._attempt: Watched | None = attempt
        self._phase = Phase.FIRST_EVENT
        self._timer: Timer | None = None
        self._look_at = 0.0

    def enter(self, phase: Phase) -> None:
        """Watch over another phase from now on. It begins with progress."""
        self._phase = phase
        if self._timer is not None:
            attempt = self._attempt
            limit_s: float | None = getattr(self._deadlines, phase)
            # A timer that fires too early looks again. Most turns end before their first timer fires.
            if limit_s is None or attempt is None or self._look_at <= attempt.progress_at + limit_s:
                return
            self._timer.cancel()
        self._look()

    def give_up_after(self, delay_s: float) -> None:
        """Call back after this delay, whatever arrives until then."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._world.call_later(delay_s, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if self._attempt is not None:
            self._attempt.on_silence()

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
        phase, since, limits, now = self._phase, attempt.progress_at, self._deadlines, self._world.clock()
        shorter_s, look_at = limits.between_events, math.inf
        has_stalled = phase is _BETWEEN_EVENTS and (shorter_s is None or since + shorter_s <= now)
        if has_stalled and attempt.is_slow:
            phase = _FIRST_OUTPUT
            if shorter_s is not None:
                # The end of the slow item is not reported. From then on the shorter limit applies.
                look_at = now + shorter_s
        elif phase is not _FIRST_OUTPUT:
            since = max(since, attempt.alive_at)
        due = limits.due(phase, self._started_at, since)
        if due is not None:
            if due.at <= now:
                attempt.on_due(due)
                return
            look_at = min(look_at, due.at)
        if look_at < math.inf:
            self._look_at = look_at
            self._timer = self._world.call_later(max(look_at - now, _RESOLUTION_S), self._look)
