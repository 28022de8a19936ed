"""One lane, and what runs on it.

A `Run` is one request. It is reserved first (placement is decided synchronously, sending may have to wait for
a dial), then sent, then started by the event that brings its response id, and it ends with a terminal event
or an ``error``. `Lanes` moves runs and lanes; nobody else does.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, Protocol

from ._protocol.events import ReceivedEvent
from .errors import NetworkError


class LaneGroup(Protocol):
    """All lanes of one connection, as a lane and its placement see them."""

    is_open: bool
    in_flight: int

    @property
    def has_room(self) -> bool:
        """Whether one more run may be reserved."""

    def new_lane(self) -> Lane | None:
        """A lane with a name that was not used before; ``None`` when all names are taken."""

    def __iter__(self) -> Iterator[Lane]:
        """The lanes, in the order of their names."""


class Sink(Protocol):
    """Who waits for the events of a run."""

    def deliver(self, event: ReceivedEvent) -> None:
        """Take one event; must not raise."""

    def fail(self, error: NetworkError) -> None:
        """The connection ended; must not raise."""


class Run:
    """One request on a lane, from its reservation to its end.

    Attributes:
        lane: where it runs.
        sink: who waits for its events; ``None`` once abandoned: the lane drains.
        sent: the frame was handed to the socket.
        response_id: the id of its response, once started.
        ended: its terminal event or error came, or it was withdrawn.
        awaits_successor: its response has ended, and what becomes of its steers is not known yet.
        left_at: when it was abandoned, on the clock of whoever did.
        fork_of: the lane whose latest response it continues from another lane, until it is in progress.
    """

    __slots__ = (
        "accepted",
        "awaits_successor",
        "earlier",
        "ended",
        "fork_of",
        "lane",
        "left_at",
        "response_id",
        "sent",
        "sink",
        "steers",
    )

    def __init__(self, lane: Lane, sink: Sink | None, fork_of: Lane | None) -> None:
        self.lane = lane
        self.sink = sink
        self.fork_of = fork_of
        self.sent = False
        self.response_id: str | None = None
        self.ended = False
        self.awaits_successor = False
        self.steers = 0
        self.accepted = 0
        self.earlier: list[str] = []
        self.left_at = 0.0

    def __repr__(self) -> str:
        state = "ended" if self.ended else "started" if self.response_id else "sent" if self.sent else "new"
        return f"<Run on {self.lane.name or 'the default lane'}: {state}>"


class Lane:
    """One lane of a connection.

    Attributes:
        name: the ``stream_id``; ``None`` for the default lane.
        lanes: the connection's lanes, of which this is one.
        latest: the id of the lane's latest completed response, as long as no later create was sent on it
            and its answer was not abandoned.
        latest_is_stored: the service keeps that response by id as well.
        last_ended: the id of the response that ended here last; whatever still comes of it is nobody's.
        stray: the id of a response that nobody asked for and that runs here now.
        forks: how many runs elsewhere continue this lane's latest response and have not begun.
        used: when it was last used, as a count of uses of the connection.
    """

    __slots__ = (
        "__weakref__",
        "_home_of",
        "forks",
        "lanes",
        "last_ended",
        "latest",
        "latest_is_stored",
        "name",
        "runs",
        "stray",
        "used",
    )

    def __init__(self, lanes: LaneGroup, name: str | None) -> None:
        self.lanes = lanes
        self.name = name
        self.runs: deque[Run] = deque()
        self.latest: str | None = None
        self.latest_is_stored = False
        self.last_ended: str | None = None
        self.stray: str | None = None
        self.forks = 0
        self.used = 0
        self._home_of: weakref.ref[Any] | None = None

    @property
    def owner(self) -> Hashable | None:
        """Whose home this lane is; ``None`` when nobody's, or when the owner is gone."""
        owner: Hashable | None = self._home_of() if self._home_of is not None else None
        return owner

    @property
    def is_idle(self) -> bool:
        """Nothing runs here, and no fork needs it to stay as it is."""
        return not self.runs and self.stray is None and not self.forks

    def settle(self, owner: Hashable | None) -> None:
        """Make it the home of this owner; whoever lived here before has to look for another."""
        self._home_of = weakref.ref(owner) if owner is not None else None

    def end_stray(self) -> None:
        """The response that nobody asked for is over."""
        self.last_ended, self.stray = self.stray, None

    def __repr__(self) -> str:
        return f"<Lane {self.name or '(default)'}: {len(self.runs)} in flight>"
