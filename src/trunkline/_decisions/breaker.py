"""Circuit breaker for WebSocket connections.

::

    CLOSED ──failed──▶ OPEN ──should_probe──▶ PROBING ──opened──▶ TRIAL ──succeeded──▶ CLOSED
                        ▲                        │                  │
                        └────────failed──────────┴──────failed──────┘

CLOSED   turns use WebSocket.
OPEN     turns use HTTP. After a delay, one dial in the background begins; no turn waits for it. A dial that
         began before the failure may succeed too, and leads to TRIAL.
PROBING  the dial runs, and turns use HTTP.
TRIAL    a socket was opened, and turns use WebSocket. Only a response shows that it carries messages; another
         failure makes the delay longer.
"""

from __future__ import annotations

from enum import Enum, auto


class BreakerState(Enum):
    """The states of a breaker."""

    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()
    TRIAL = auto()


class Breaker:
    """A circuit breaker.

    Args:
        cool_s: the time from the first failure to the next dial, in seconds; doubled by each further failure.
        longest_s: the maximum of this time, in seconds.
    """

    def __init__(self, cool_s: float = 10.0, longest_s: float = 300.0) -> None:
        self._cool_s = cool_s
        self._longest_s = longest_s
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._probe_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether turns may use WebSocket."""
        return self._state is BreakerState.CLOSED or self._state is BreakerState.TRIAL

    @property
    def is_settled(self) -> bool:
        """Whether WebSocket worked at last."""
        return self._state is BreakerState.CLOSED

    def failed(self, now: float) -> None:
        """Record that a connection failed, or carried nothing."""
        # Other turns may fail that began before the breaker opened: they do not extend the delay.
        if self._state is not BreakerState.OPEN:
            self._failures += 1
            self._probe_at = now + min(self._longest_s, self._cool_s * 2.0 ** min(self._failures - 1, 64))
        self._state = BreakerState.OPEN

    def opened(self) -> None:
        """Record that a connection was opened."""
        if self._state is not BreakerState.CLOSED:
            self._state = BreakerState.TRIAL

    def succeeded(self) -> None:
        """Record that a connection has brought a response."""
        self._failures = 0
        self._state = BreakerState.CLOSED

    def should_probe(self, now: float) -> bool:
        """Whether to dial in the background now. ``True`` begins the probe."""
        if self._state is not BreakerState.OPEN or now < self._probe_at:
            return False
        self._state = BreakerState.PROBING
        return True

    def __repr__(self) -> str:
        return f"<Breaker: {self._state.name.lower()}>"
