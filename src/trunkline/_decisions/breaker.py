"""When WebSocket is tried again after it could not be had.

Closed, turns go over WebSocket. A failure opens the breaker: turns go over HTTP. After a while one dial is
tried in the background (half-open), and no turn waits for it: it closes the breaker, or opens it for longer.
"""

from __future__ import annotations


class Breaker:
    """Closed, open or half-open.

    Args:
        cool_s: how long it stays open after the first failure, in seconds; doubled with each further one.
        longest_s: how long it stays open at most.
    """

    def __init__(self, cool_s: float = 10.0, longest_s: float = 300.0) -> None:
        self._cool_s = cool_s
        self._longest_s = longest_s
        self._failures = 0
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_closed(self) -> bool:
        """Whether turns may go over WebSocket."""
        return self._failures == 0

    def failed(self, now: float) -> None:
        """WebSocket could not be had."""
        if self.is_closed or self._probing:
            self._failures += 1
            self._probe_at = now + min(self._longest_s, self._cool_s * 2 ** (self._failures - 1))
        self._probing = False

    def succeeded(self) -> None:
        """A WebSocket was made."""
        self._failures = 0
        self._probing = False

    def should_probe(self, now: float) -> bool:
        """Whether it is time to try; true once, until the trial has ended."""
        if self.is_closed or self._probing or now < self._probe_at:
            return False
        self._probing = True
        return True

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "half-open" if self._probing else "open"
        return f"<Breaker: {state}>"
