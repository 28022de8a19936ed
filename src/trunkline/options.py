"""Options of a client: time limits, retries, and limits of connections."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ._protocol.lanes import MAX_IN_FLIGHT, MAX_NAMES
from .arguments import check_count, check_flag, check_number


class Phase(StrEnum):
    """What a turn waits for."""

    CONNECT = "connect"
    FIRST_EVENT = "first_event"
    FIRST_OUTPUT = "first_output"
    BETWEEN_EVENTS = "between_events"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Due:
    """The next deadline.

    Attributes:
        phase: what is waited for.
        at: when it is over, on the clock that was given.
        waited_s: how long will have been waited then, in seconds.
    """

    phase: Phase
    at: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a turn waits, in seconds; ``None`` waits for ever.

    Attributes:
        connect: for a connection, in each attempt. Those of the client also bound each dial.
        first_event: from sending to the first event.
        first_output: from the latest event to the first output item or delta; reasoning can take long.
        between_events: from one event to the next, once there was output.
        total: for the whole turn, with all attempts and waits.
    """

    connect: float | None = 10.0
    first_event: float | None = 15.0
    first_output: float | None = 120.0
    between_events: float | None = 30.0
    total: float | None = None

    def __post_init__(self) -> None:
        for phase in Phase:
            check_number(
                getattr(self, phase.value),
                f"Deadlines.{phase.value}",
                none_means="wait for ever",
                finite=True,
            )

    def due(self, phase: Phase, started_at: float, since: float) -> Due | None:
        """What is over first: this phase, which began at ``since``, or the turn as a whole."""
        limit: float | None = getattr(self, phase.value)
        of_phase = Due(phase, since + limit, limit) if limit is not None else None
        of_turn = Due(Phase.TOTAL, started_at + self.total, self.total) if self.total is not None else None
        if of_phase is None or of_turn is None:
            return of_phase or of_turn
        return min(of_phase, of_turn, key=lambda due: due.at)


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of recovery.

    Attributes:
        max_attempts: how often one turn is asked at most.
        backoff_s: the wait before the second attempt, in seconds; doubled with each further one.
        max_backoff_s: the longest wait that is not asked for by the service.
        max_retry_after_s: the longest wait that the service may ask for; beyond it the error is raised.
        waits: also ask again where that takes time. Without, only what can be asked again at once is (a
            parent or a socket that was lost, a limit, HTTP instead of WebSocket); failures of the service,
            time-outs and connections that cannot be made are raised, for a caller who asks again himself.
    """

    max_attempts: int = 4
    backoff_s: float = 0.25
    max_backoff_s: float = 8.0
    max_retry_after_s: float = 60.0
    waits: bool = True

    def __post_init__(self) -> None:
        check_count(self.max_attempts, "Policy.max_attempts")
        for name in ("backoff_s", "max_backoff_s", "max_retry_after_s"):
            check_number(getattr(self, name), f"Policy.{name}")
        check_flag(self.waits, "Policy.waits")


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
