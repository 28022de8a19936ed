"""Bounds of the connections of a client."""

from __future__ import annotations

from dataclasses import dataclass

from ._protocol.lanes import MAX_IN_FLIGHT, MAX_NAMES
from .arguments import check_count, check_flag, check_number


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool. Times are seconds.

    Attributes:
        max_connections: connections at most; a turn that needs one more waits for a place.
        max_in_flight: responses in flight on one connection, at most 16.
        max_lanes: named lanes of one connection, at most 32.
        max_draining: abandoned answers that drain on one connection before new turns go elsewhere.
        drain_s: how long an abandoned answer may drain before its connection is given up.
        close_abandoned: close the socket of an abandoned answer, where nobody else is on it, instead of
            letting it drain: fewer tokens, and a new connection for the next turn.
        max_age_s: the age at which a connection is replaced. The service ends it at 3600.
        age_jitter_s: up to so much earlier, so that connections made together do not end together.
        upkeep_s: how often age and drains are looked at.
        max_keys: keys of ``Client.stream`` whose histories are remembered; beyond, the key that was used
            least recently is forgotten, and its next turn is sent in full.
    """

    max_connections: int = 1024
    max_in_flight: int = MAX_IN_FLIGHT
    max_lanes: int = MAX_NAMES
    max_draining: int = 8
    drain_s: float = 300.0
    close_abandoned: bool = False
    max_age_s: float = 3300.0
    age_jitter_s: float = 120.0
    upkeep_s: float = 5.0
    max_keys: int = 4096

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_draining", "max_keys"):
            check_count(getattr(self, name), f"PoolLimits.{name}")
        check_count(self.max_in_flight, "PoolLimits.max_in_flight", most=MAX_IN_FLIGHT)
        check_count(self.max_lanes, "PoolLimits.max_lanes", most=MAX_NAMES)
        for name in ("drain_s", "max_age_s", "age_jitter_s"):
            check_number(getattr(self, name), f"PoolLimits.{name}")
        check_number(self.upkeep_s, "PoolLimits.upkeep_s", above=0)
        check_flag(self.close_abandoned, "PoolLimits.close_abandoned")
