"""Circuit breaker for WebSocket connections.

Closed: turns use WebSocket. A failed connection opens the breaker. Open: turns use HTTP. After a delay, one
dial in the background makes the breaker half-open; no turn waits for it. If the dial succeeds, the breaker
closes; otherwise it opens for longer.
"""

from __future__ import annotations


class Breaker:
    """A circuit breaker: closed, open or half-open.

    Args:
        cool_s: the time from the first failure to the next dial, in seconds; doubled by each further failure.
        longest_s: the maximum of this time, in seconds.
    """

    def __init__(self, cool_s: float = 10.0, longest_s: float = 300.0) -> None:
        self._cool_s = cool_s
        self._longest_s = longest_s
        self._failures = 0
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_closed(self) -> bool:
        """Whether turns may use WebSocket."""
        return self._failures == 0

    def failed(self, now: float) -> None:
        """Record that a connection failed."""
        # Other turns may fail that began before the breaker opened: they do not extend the delay.
        if self.is_closed or self._probing:
            self._failures += 1
            self._probe_at = now + min(self._longest_s, self._cool_s * 2 ** (self._failures - 1))
        self._probing = False

    def succeeded(self) -> None:
        """Record that a connection was opened."""
        self._failures = 0
        self._probing = False

    def should_probe(self, now: float) -> bool:
        """Whether to dial in the background now. ``True`` makes the breaker half-open."""
        if self.is_closed or self._probing or now < self._probe_at:
            return False
        self._probing = True
        return True

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "half-open" if self._probing else "open"
        return f"<Breaker: {state}>"
