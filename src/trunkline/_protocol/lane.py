"""One lane, and the runs on it.

A `Run` is one request on a lane. It is reserved first: placement is decided synchronously, and sending may
have to wait for a dial. Only `Lanes` changes runs and lanes; its docstring draws the transitions.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from enum import IntEnum, auto
from typing import Any, Final, Protocol

from .response import Response
from .sink import Sink


class LaneGroup(Protocol):
    """All lanes of one connection, as a lane and placement see them."""

    is_open: bool
    in_flight: int
    draining: int

    @property
    def has_clear_ids(self) -> bool:
        """Whether the id of a response is that of no other one."""

    @property
    def keeps_clear_ids(self) -> bool:
        """Whether the id of a response will never be that of another one."""

    @property
    def has_room(self) -> bool:
        """Whether one more run may be reserved."""

    @property
    def may_grow(self) -> bool:
        """Whether a new lane may be added."""

    def __iter__(self) -> Iterator[Lane]:
        """The lanes, in the order of their names."""


class RunState(IntEnum):
    """How far a run has come, in this order."""

    RESERVED = auto()
    """It has a place on its lane, and its request has not been sent."""

    SENT = auto()
    """Its request was handed to the socket."""

    STARTED = auto()
    """Its response has begun."""

    AWAITING = auto()
    """Its response has ended, and a steer may bring a successor."""

    UNEXPLAINED = auto()
    """Its response has failed without a reason, which an error may bring."""

    ENDED = auto()
    """Its request was answered, refused or lost."""

    WITHDRAWN = auto()
    """It gave its place back before its request was sent."""


# Bound once: looking up a member of an enumeration costs more than comparing it.
_SENT: Final = RunState.SENT
_ENDED: Final = RunState.ENDED


class Run:
    """One request on a lane, from its reservation to its end.

    Attributes:
        lane: the lane.
        sink: the receiver of its events; ``None`` once abandoned: the lane drains.
        state: how far it has come.
        response_id: the id of its running response, or of the one that ended it; empty while it is not known.
        earlier: the ids of its responses that were steered and have ended.
        steers: steers whose outcome is open.
        steers_sent: how many steers were sent.
        steers_acknowledged: how many of them were accepted or refused. Servers answer them in order.
        accepted_ids: the ids of accepted steers that are not part of a response yet.
        sent_at: when its request was handed to the socket, on the clock of the connection.
        left_at: when it was abandoned, on the same clock.
        fork_of: the lane whose latest response it continues from another lane, until it is in progress.
        size_bytes: the size of its latest frame.
    """

    __slots__ = (
        "_drained",
        "_on_drained",
        "accepted_ids",
        "earlier",
        "fork_of",
        "lane",
        "left_at",
        "response_id",
        "sent_at",
        "sink",
        "size_bytes",
        "state",
        "steers",
        "steers_acknowledged",
        "steers_sent",
    )

    def __init__(self, lane: Lane, sink: Sink | None, fork_of: Lane | None) -> None:
        self.lane: Lane = lane
        self.sink: Sink | None = sink
        self.fork_of: Lane | None = fork_of
        self.state: RunState = RunState.RESERVED
        self.response_id: str | None = None
        self.earlier: tuple[str, ...] = ()
        self.steers: int = 0
        self.steers_sent: int = 0
        self.steers_acknowledged: int = 0
        self.accepted_ids: tuple[str | None, ...] = ()
        self.sent_at: float = 0.0
        self.left_at: float = 0.0
        self.size_bytes: int = 0
        self._drained: Response | None = None
        self._on_drained: Callable[[Response], None] | None = None

    def when_drained(self, report: Callable[[Response], None]) -> None:
        """Call a function with the response that ends this run after it was abandoned, or has ended it."""
        if self._drained is not None:
            report(self._drained)
        else:
            self._on_drained = report

    def drained(self, response: Response) -> None:
        """A response has ended this run, which was abandoned."""
        self._drained = response
        report, self._on_drained = self._on_drained, None
        if report is not None:
            report(response)

    @property
    def accepted(self) -> int:
        """The number of accepted steers that are not part of a response yet."""
        return len(self.accepted_ids)

    @property
    def was_sent(self) -> bool:
        """Whether its request was handed to the socket."""
        return _SENT <= self.state <= _ENDED

    @property
    def has_started(self) -> bool:
        """Whether its response, or a steered one before it, had begun."""
        return self.response_id is not None or bool(self.earlier)

    @property
    def is_over(self) -> bool:
        """Whether nothing more follows."""
        return self.state >= _ENDED

    def __repr__(self) -> str:
        return f"<Run on {self.lane.name or 'the default lane'}: {self.state.name}>"


class Lane:
    """One lane of a connection.

    Attributes:
        name: the ``stream_id``; ``None`` for the default lane.
        lanes: all lanes of its connection.
        runs: its runs, the one that is answered first.
        latest: the id of its latest completed response; ``None`` once a later create was sent on it, or when
            the answer was abandoned.
        latest_is_stored: the service keeps that response by its id as well.
        last_ended: the id of the response that ended here last; further events of it belong to no run.
        created: the hash of the frame that began the latest response.
        stray: the id of a response that no request of ours began and that runs here now.
        forks: the number of runs on other lanes that continue its latest response and are not in progress.
        used: when it was used last, as a count of the uses of the connection.
    """

    __slots__ = (
        "__weakref__",
        "_home_of",
        "created",
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
        self.lanes: LaneGroup = lanes
        self.name: str | None = name
        self.runs: deque[Run] = deque()
        self.latest: str | None = None
        self.latest_is_stored: bool = False
        self.last_ended: str | None = None
        self.created: int | None = None
        self.stray: str | None = None
        self.forks: int = 0
        self.used: int = 0
        self._home_of: weakref.ref[Any] | None = None

    @property
    def owner(self) -> Hashable | None:
        """The owner whose home this lane is; ``None`` without one, or when the owner is gone."""
        owner: Hashable | None = self._home_of() if self._home_of is not None else None
        return owner

    @property
    def is_idle(self) -> bool:
        """Whether no run is on it, and no fork needs its latest response."""
        return not self.runs and self.stray is None and not self.forks

    def settle(self, owner: Hashable | None) -> None:
        """Make it the home of this owner, in place of any other."""
        self._home_of = weakref.ref(owner) if owner is not None else None

    def end_stray(self) -> None:
        """The stray response has ended."""
        self.last_ended, self.stray = self.stray, None

    def __repr__(self) -> str:
        return f"<Lane {self.name or '(default)'}: {len(self.runs)} in flight>"
