"""Per-connection state of the service: lanes, cache and steering."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .generation import Generation
from .lanes import Lanes
from .records import ConnectionRecord, RequestRecord
from .steering import Steering
from .store import LaneCache


@dataclass(frozen=True, slots=True)
class Job:
    """A request for a response, queued on its lane."""

    body: dict[str, Any] = field(repr=False)
    request: RequestRecord


@dataclass(slots=True, eq=False)
class Connection:
    """State that is lost when the socket closes."""

    record: ConnectionRecord
    response_id: str | None = None
    """The id of all responses of the connection, under quirks that repeat ids."""
    model: str | None = None
    """The model to which the connection is bound, under quirks that bind it."""
    lanes: Lanes[Job] = field(default_factory=Lanes)
    cache: LaneCache = field(default_factory=LaneCache)
    steering: Steering = field(default_factory=Steering)
    running: dict[str, tuple[Generation, Job]] = field(default_factory=dict)
    """Running responses by the id that the client sees, each with its request."""

    @property
    def id(self) -> str:
        """The connection's id."""
        return self.record.id
