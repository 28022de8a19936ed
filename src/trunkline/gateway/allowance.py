"""Allowance of a tenant: turns at a time, and turns in a minute. Times are arguments."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

WINDOW_S: Final = 60.0
SOON_S: Final = 1.0
"""The wait that is named when the number of turns at a time is reached: an answer may end at any moment."""


class Allowance:
    """The turns of one tenant.

    Args:
        in_flight: the number of turns at a time; ``None`` for no limit.
        per_minute: the number of turns that begin in any minute; ``None`` for no limit.

    Attributes:
        running: the number of turns that have begun and not ended.
        is_suspended: no turn begins, because the limits are not known.
    """

    def __init__(self, in_flight: int | None, per_minute: int | None) -> None:
        self.running: int = 0
        self.is_suspended: bool = False
        self._begun: deque[float] = deque()
        self._bound(in_flight, per_minute)

    def _bound(self, in_flight: int | None, per_minute: int | None) -> None:
        """Use these limits from now on. Turns that have begun count."""
        self._in_flight = math.inf if in_flight is None else in_flight
        self._per_minute = per_minute

    def take(self, now: float) -> float:
        """Begin a turn, and return 0; or return the seconds after which another attempt makes sense.

        A turn that has begun must be given back.
        """
        if self.running >= self._in_flight:
            return SOON_S
        if self._per_minute is not None:
            begun = self._begun
            if self._begun_within(now) >= self._per_minute:
                return max(0.001, begun[0] + WINDOW_S - now) if begun else SOON_S
            begun.append(now)
        self.running += 1
        return 0.0

    def steer(self, now: float) -> float:
        """Count a steer into a running turn as a turn that begins: as `take`. It needs no giving back."""
        self.running -= 1  # the two are one turn at a time
        wait_s = self.take(now)
        if wait_s:
            self.running += 1
        return wait_s

    def give_back(self) -> None:
        """End a turn."""
        self.running -= 1

    def _begun_within(self, now: float) -> int:
        """The number of turns that began in the last minute."""
        begun = self._begun
        while begun and now - begun[0] >= WINDOW_S:
            begun.popleft()
        return len(begun)


__all__ = ["SOON_S", "WINDOW_S", "Allowance"]
