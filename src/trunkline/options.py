"""Options of a client: time limits, retries, and limits of connections."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ._protocol.lanes import MAX_IN_FLIGHT, MAX_NAMES
from .arguments import check_count, check_flag, check_number, refuse

_MAX_KEEPALIVE_S: Final = 32_767
_MAX_PROBES: Final = 127


class Phase(StrEnum):
    """A phase of a turn that has a time limit."""

    CONNECT = "connect"
    FIRST_EVENT = "first_event"
    FIRST_OUTPUT = "first_output"
    BETWEEN_EVENTS = "between_events"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Due:
    """The next deadline of a turn.

    Attributes:
        phase: the phase that times out.
        at: the time of the deadline, on the clock of the times given to `Deadlines.due`.
        waited_s: the length of the phase at that time, in seconds.
    """

    phase: Phase
    at: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits of a turn, in seconds; ``None`` waits for ever.

    Attributes:
        connect: from the start of an attempt until it has a connection. A dial that does not reach the server
            is repeated for that long. The client's value limits dials.
        first_event: from the moment when the request has left this machine to the first event. A keep-alive
            comment starts it again.
        first_output: from the first event to the first output item or delta, because reasoning can take long.
            After the first output: from one output to the next, while only reasoning, compaction or hosted
            tools are open. Keep-alive comments and life-cycle events do not start it again.
        between_events: from one event or keep-alive comment to the next, after the first output.
        total: from the start to the end of the turn, including all retries and delays.
    """

    connect: float | None = 10.0
    first_event: float | None = 10.0
    first_output: float | None = 120.0
    between_events: float | None = 30.0
    total: float | None = 600.0

    def __post_init__(self) -> None:
        for phase in Phase:
            check_number(
                getattr(self, phase),
                f"Deadlines.{phase}",
                none_means="wait for ever",
                finite=True,
            )

    def due(self, phase: Phase, started_at: float, since: float) -> Due | None:
        """The earlier deadline: that of the phase, or that of the whole turn. ``None`` without either.

        Args:
            phase: the current phase.
            started_at: the start of the turn.
            since: the start of the phase.
        """
        limit: float | None = getattr(self, phase)
        total = self.total
        if limit is not None and (total is None or since + limit <= started_at + total):
            return Due(phase, since + limit, limit)
        return Due(Phase.TOTAL, started_at + total, total) if total is not None else None


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of retries within a turn.

    Attributes:
        max_attempts: the maximum number of attempts of one turn, the first included.
        backoff_s: the delay before the second attempt, in seconds; doubled for each further attempt.
        max_backoff_s: the maximum delay, in seconds, if the service gives no ``retry-after``.
        max_retry_after_s: the maximum ``retry-after`` that a turn waits for, in seconds. If the service
            requires more, the error is raised at once, with the wait in ``retry_after_s``.
        waits: allow retries that take time. ``False`` allows only immediate ones (lost parent, lost socket,
            connection or stream limit, fallback to HTTP), for callers with retries of their own; errors of
            the service, timeouts and failed connections are raised, and no turn waits for repeated dials.
    """

    max_attempts: int = 4
    backoff_s: float = 0.25
    max_backoff_s: float = 8.0
    max_retry_after_s: float = 5.0
    waits: bool = True

    def __post_init__(self) -> None:
        check_count(self.max_attempts, "Policy.max_attempts")
        for name in ("backoff_s", "max_backoff_s", "max_retry_after_s"):
            check_number(getattr(self, name), f"Policy.{name}")
        check_flag(self.waits, "Policy.waits")


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of a client's connection pool.

    Attributes:
        max_connections: the maximum number of connections; a turn that needs one more waits.
        max_in_flight: the maximum number of responses in flight on one connection, up to 16.
        max_lanes: the maximum number of named lanes of one connection, up to 32.
        max_draining: the number of abandoned responses draining on one connection from which it takes new
            turns only as a last resort.
        drain_s: the maximum time for which an abandoned response may drain, in seconds; then its connection
            takes no new turns and is closed after its last response.
        close_abandoned: close the socket of an abandoned response, if no other response on it has a reader,
            instead of draining it. Saves tokens; the next turn needs a new connection.
        max_age_s: the age at which a connection is replaced, in seconds. The service closes it at 3600.
        age_jitter_s: the maximum random reduction of ``max_age_s``, in seconds, so that connections opened
            together are not replaced together.
        upkeep_s: the interval between checks of age and drains, in seconds.
        ping_after_s: the silence of a connection, while a turn waits for events of it, after which a PING
            is sent, in seconds. Any byte ends the silence. It does not begin before the request has left
            this machine.
        doubt_after_s: the same silence, after which the connection takes no new turns until a byte arrives,
            in seconds.
        dead_after_s: the same silence, after which the connection is given up and its turns are recovered,
            in seconds. An idle connection has the same times, but its first PING is sent after
            ``Client.ping_interval_s``. ``math.inf`` keeps silent connections.
        keepalive_idle_s: the silence of a TCP connection after which the system probes it, in whole seconds.
            Over HTTP, these probes alone find a dead peer.
        keepalive_interval_s: the time between two probes, in whole seconds.
        keepalive_probes: the number of unanswered probes after which the system ends the connection.
        unsent_bytes: the number of bytes that the system takes from a request before they can be sent, so
            that the progress of a large request is seen (``TCP_NOTSENT_LOWAT``).
        max_keys: the number of keys of ``Client.stream`` whose histories are remembered. Beyond it, the
            least recently used key is forgotten, and its next turn is sent in full.
        max_key_bytes: the size of all histories of keys, above which the least recently used keys are
            forgotten.
        key_idle_s: the time in seconds after which a key that is not used is forgotten, at the next turn of
            any key.
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
    ping_after_s: float = 2.0
    doubt_after_s: float = 4.0
    dead_after_s: float = 5.0
    keepalive_idle_s: int = 4
    keepalive_interval_s: int = 2
    keepalive_probes: int = 2
    unsent_bytes: int = 16 * 1024
    max_keys: int = 4096
    max_key_bytes: int = 2**28
    key_idle_s: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_draining", "max_keys", "max_key_bytes"):
            check_count(getattr(self, name), f"PoolLimits.{name}")
        check_count(self.max_in_flight, "PoolLimits.max_in_flight", most=MAX_IN_FLIGHT)
        check_count(self.max_lanes, "PoolLimits.max_lanes", most=MAX_NAMES)
        for name in ("drain_s", "max_age_s", "age_jitter_s", "key_idle_s"):
            check_number(getattr(self, name), f"PoolLimits.{name}")
        check_number(self.upkeep_s, "PoolLimits.upkeep_s", above=0)
        check_number(self.ping_after_s, "PoolLimits.ping_after_s", above=0, finite=True)
        for name in ("doubt_after_s", "dead_after_s"):
            value: float = getattr(self, name)
            check_number(value, f"PoolLimits.{name}")
            if value < self.ping_after_s:
                refuse(f"PoolLimits.{name}", value, f"give at least ping_after_s, {self.ping_after_s:g}")
        check_count(self.keepalive_idle_s, "PoolLimits.keepalive_idle_s", most=_MAX_KEEPALIVE_S)
        check_count(self.keepalive_interval_s, "PoolLimits.keepalive_interval_s", most=_MAX_KEEPALIVE_S)
        check_count(self.keepalive_probes, "PoolLimits.keepalive_probes", most=_MAX_PROBES)
        check_count(self.unsent_bytes, "PoolLimits.unsent_bytes", most=2**31 - 1)
        check_flag(self.close_abandoned, "PoolLimits.close_abandoned")
