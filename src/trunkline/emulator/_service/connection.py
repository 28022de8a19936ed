"""One socket's state on the server: its lanes, and what it remembers of them."""

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
    """A request for a response that waits for its lane."""

    body: dict[str, Any]
    request: RequestRecord


@dataclass(slots=True, eq=False)
class Connection:
    """Everything that is lost when the socket closes."""

    record: ConnectionRecord
    lanes: Lanes[Job] = field(default_factory=Lanes)
    cache: LaneCache = field(default_factory=LaneCache)
    steering: Steering = field(default_factory=Steering)
    running: dict[str, tuple[Generation, Job]] = field(default_factory=dict)
    """The responses in flight, by id, each with the request that it came from."""

    @property
    def id(self) -> str:
        """The connection's id."""
        return self.record.id
