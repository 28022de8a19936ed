"""Liveness of the peer of one connection: a pure decision from counters and times.

::

    HEARD ──silence──▶ PINGED ──no answer──▶ DOUBTED ──no answer──▶ DEAD
      ▲                   │                     │
      └──── any byte ─────┴─────────────────────┘

    HEARD    bytes have arrived recently, or nothing waits for any.
    PINGED   a PING was sent, and nothing has arrived since.
    DOUBTED  the answer is late: no new turn is placed on the connection.
    DEAD     the answer is missing: the turns of the connection are recovered elsewhere.

Any byte proves that the peer lives, not only a PONG. Neither clock runs while a request leaves: a PING would
wait behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

LOOKS_PER_PING: Final = 4
"""Looks at a connection in the time after which silence is answered by a PING."""
SHORTEST_LOOK_S: Final = 0.01
"""The shortest time between two looks at a connection, in seconds."""


class Signs(NamedTuple):
    """Counters of a socket. They only grow.

    Attributes:
        received: the number of bytes or frames that have arrived.
        departed: the number of bytes that have left.
        is_leaving: whether bytes wait to leave.
    """

    received: int
    departed: int
    is_leaving: bool


@dataclass(frozen=True, slots=True)
class Patience:
    """The silence that is accepted, in seconds.

    Attributes:
        ping_after_s: the silence after which a PING is sent while a request waits.
        ping_idle_s: the same while no request waits.
        doubt_s: the time from a PING until the peer is doubted.
        dead_s: the time from a PING until the peer is given up.
    """

    ping_after_s: float
    ping_idle_s: float
    doubt_s: float
    dead_s: float

    @property
    def look_s(self) -> float:
        """The time between two looks while a request waits, in seconds.

        A look sees that bytes have arrived since the one before, not when. The earliest time is assumed, so
        that a PING may be sent earlier than necessary by this time.
        """
        return max(SHORTEST_LOOK_S, self.ping_after_s / LOOKS_PER_PING)

    @property
    def idle_look_s(self) -> float:
        """The time between two looks while no request waits, in seconds.

        A request may be sent right after a look, and its silence ends with a PING in time.
        """
        return max(SHORTEST_LOOK_S, min(self.ping_after_s, self.ping_idle_s))


class Verdict(Enum):
    """The result of a look at a connection."""

    ALIVE = auto()
    PING = auto()
    """Silent for long: a PING has to be sent."""
    PINGED = auto()
    """The answer to a PING may still come in time."""
    DOUBTED = auto()
    """The answer is late."""
    DEAD = auto()
    """The answer is missing."""


class Liveness:
    """What the looks at one connection have shown.

    Args:
        patience: the silence that is accepted.
        now: the time at which the connection was opened.

    Attributes:
        heard_at: bytes arrived after this time: the look before the one that found them last.
        departed_at: the look that found last that a waiting request has moved on.
    """

    __slots__ = ("_looked_at", "_patience", "_pinged_at", "_signs", "_within_s", "departed_at", "heard_at")

    def __init__(self, patience: Patience, now: float) -> None:
        self.heard_at: float = now
        self.departed_at: float = now
        self._looked_at = now
        self._patience = patience
        self._signs = Signs(0, 0, is_leaving=False)
        self._pinged_at: float | None = None
        self._within_s = patience.dead_s

    @property
    def answer_within_s(self) -> float:
        """The time limit of the answer to the last PING, in seconds."""
        return self._within_s

    def observe(self, signs: Signs, now: float) -> None:
        """Compare the counters with those of the look before."""
        before, self._signs = self._signs, signs
        if signs.received != before.received:
            self.heard_at = self._looked_at
            self._pinged_at = None
            self._within_s = self._patience.dead_s
        if before.is_leaving and signs.departed != before.departed:
            self.departed_at = now
        self._looked_at = now

    def pardon(self, seconds: float) -> None:
        """Leave out a time in which this process did not run: silence in it proves nothing."""
        self.heard_at += seconds
        if self._pinged_at is not None:
            self._pinged_at += seconds

    def question(self, now: float) -> bool:
        """Require a sign of life within ``doubt_s``. Returns whether a PING has to be sent."""
        self._within_s = min(self._within_s, self._patience.doubt_s)
        if self._pinged_at is not None:
            return False
        self._pinged_at = now
        return True

    def judge(self, now: float, waiting_since: float | None) -> tuple[Verdict, float]:
        """The verdict, and the time until the next look in seconds.

        Args:
            now: the time.
            waiting_since: when the oldest request was sent that waits for events; ``None`` for none.
        """
        patience = self._patience
        if self._pinged_at is None:
            if waiting_since is None:
                silent_since, limit_s = max(self.heard_at, self.departed_at), patience.ping_idle_s
            else:
                silent_since = max(self.heard_at, self.departed_at, waiting_since)
                limit_s = patience.ping_after_s
            remaining_s = silent_since + limit_s - now
            if remaining_s <= 0:
                self._pinged_at = now
                return Verdict.PING, patience.look_s
            is_watched = waiting_since is not None or self._signs.is_leaving
            return Verdict.ALIVE, min(remaining_s, patience.look_s if is_watched else patience.idle_look_s)
        unanswered_s = now - max(self._pinged_at, self.departed_at)
        if unanswered_s >= self._within_s:
            return Verdict.DEAD, patience.look_s
        verdict = Verdict.DOUBTED if unanswered_s >= patience.doubt_s else Verdict.PINGED
        return verdict, min(self._within_s - unanswered_s, patience.look_s)


__all__ = ["Liveness", "Patience", "Signs", "Verdict"]
