"""Notices for operators, on the logger ``trunkline``: changes of state at WARNING, retries at INFO.

They name the endpoint, connections and turns, and hold no content. See `_observe.wirelog` for frames.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from .._decisions.recovery import Decision
from .._protocol.failure import Failure
from .wirelog import named

DEAD_INTERVAL_S: Final = 10.0
"""Dead connections are reported at most once within this time, with the number of the others."""

_logger = logging.getLogger("trunkline")


class Notices:
    """The notices of one client.

    Args:
        place: host and port of the endpoint.
        clock: returns seconds.
    """

    __slots__ = ("_clock", "_dead_at", "_is_over_http", "_place", "_unreported")

    def __init__(self, place: str, clock: Callable[[], float]) -> None:
        self._place = place
        self._clock = clock
        self._is_over_http = False
        self._dead_at: float | None = None
        self._unreported = 0

    def fell_back(self, reason: str) -> None:
        """Turns go over HTTP from now on. Further reasons are not reported before `recovered`."""
        if not self._is_over_http:
            self._is_over_http = True
            _logger.warning("turns to %s go over HTTP until a WebSocket works again: %s", self._place, reason)

    def recovered(self) -> None:
        """A WebSocket has brought a response."""
        if self._is_over_http:
            self._is_over_http = False
            _logger.warning("turns to %s go over WebSocket again", self._place)

    def unchained(self, reason: str) -> None:
        """Turns name no parent from now on. Called at most once an hour."""
        _logger.warning(
            "turns to %s carry the whole context: the server keeps no parents, %s", self._place, reason
        )

    def dead(self, connection: int, reason: str) -> None:
        """A connection takes no more turns, because its server is silent."""
        now = self._clock()
        if self._dead_at is not None and now - self._dead_at < DEAD_INTERVAL_S:
            self._unreported += 1
            return
        others = f"; so were {self._unreported} others before" if self._unreported else ""
        self._dead_at, self._unreported = now, 0
        _logger.warning("connection %d to %s is given up: %s%s", connection, self._place, reason, others)

    def __repr__(self) -> str:
        return f"<Notices of {self._place}>"


def log_retry(turn: int, attempt: int, connection: int | None, failure: Failure, decision: Decision) -> None:
    """Log that an attempt of a turn has failed and the request is sent again."""
    if decision.cause is None or not _logger.isEnabledFor(logging.INFO):
        return
    _logger.info(
        "turn %d attempt %d on %s failed: %s; recovers from %s, %s in %.3f s",
        *(turn, attempt, f"connection {connection}" if connection is not None else "http"),
        f"{failure.name} {named(failure.code)}".rstrip(),
        *(decision.cause.value, decision.action.value, decision.delay_s),
    )


__all__ = ["Notices", "log_retry"]
