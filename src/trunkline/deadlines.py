"""How long a turn waits, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .arguments import check_number


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
