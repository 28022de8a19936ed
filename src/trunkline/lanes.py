"""One connection's lanes: who is in flight where, and whose an event is.

The rules of the protocol that this module keeps:

- A lane is first in, first out, and never overlaps; lanes run concurrently and interleave.
- On a named lane every event carries its ``stream_id``; on the default lane none does. Named lanes and the
  default lane are never mixed on one connection here.
- At most 16 responses are in flight on a connection, and at most 32 distinct lane names in its life.
- There is no cancel: a response that nobody wants any more goes on, and its lane *drains*.
- A lane remembers its latest response, until the next create is sent on it.

What is in flight is a `Run`. It is reserved first (placement is decided synchronously, sending may have to
wait for a dial), then sent, then started by the event that brings its response id, and it ends with a
terminal event or an ``error``. A lane takes only events of the response that it expects: what arrives
before ``response.created``, or after the end, belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ._protocol.events import (
    TERMINAL,
    ErrorEvent,
    InvalidEvent,
    ReceivedEvent,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailedEvent,
    ResponseIncomplete,
    ResponseInProgress,
    ResponseQueued,
    SteerAccepted,
    SteerFailed,
    SteerPending,
)
from .lane import Lane, Run, Sink

MAX_IN_FLIGHT: Final = 16
MAX_NAMES: Final = 32

_LIFE_CYCLE: Final = (
    ResponseCreated,
    ResponseQueued,
    ResponseInProgress,
    ResponseCompleted,
    ResponseFailedEvent,
    ResponseIncomplete,
)
_ENDS: Final = (ResponseCompleted, ResponseFailedEvent, ResponseIncomplete)
_STEERING: Final = (SteerAccepted, SteerFailed, SteerPending)


class Lanes:
    """All lanes of one connection.

    Args:
        named: use named lanes; otherwise the default lane alone, one run at a time.
        max_in_flight: how many runs at once, at most 16.
        max_names: how many distinct lane names, at most 32.

    Attributes:
        hearing: who hears the deltas of a lane whose run has started, so that they need no routing.
    """

    def __init__(
        self, *, named: bool, max_in_flight: int = MAX_IN_FLIGHT, max_names: int = MAX_NAMES
    ) -> None:
        self.named = named
        self.max_in_flight = min(max_in_flight, MAX_IN_FLIGHT) if named else 1
        self.max_names = min(max_names, MAX_NAMES) if named else 1
        self.in_flight = 0
        self.draining = 0
        self.strays = 0
        self.is_open = True
        self.hearing: dict[str | None, Callable[[ReceivedEvent], None]] = {}
        self._uses = 0
        self._lanes: dict[str | None, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def has_room(self) -> bool:
        """Whether one more run may be reserved."""
        return self.is_open and self.in_flight < self.max_in_flight

    def new_lane(self) -> Lane | None:
        """A lane with a name that was not used before; ``None`` when all names are taken."""
        if len(self._lanes) >= self.max_names:
            return None
        name = f"lane-{len(self._lanes)}" if self.named else None
        lane = self._lanes[name] = Lane(self, name)
        return lane

    def reserve(self, lane: Lane, sink: Sink, *, fork_of: Lane | None = None) -> Run:
        """Take a place on the lane. A fork holds its source lane until it is in progress."""
        run = Run(lane, sink, fork_of)
        lane.runs.append(run)
        self.in_flight += 1
        self._uses += 1
        lane.used = self._uses
        if fork_of is not None:
            fork_of.forks += 1
        return run

    def sending(self, run: Run) -> None:
        """The frame goes out now: what the lane remembered can no longer be named."""
        run.sent = True
        run.lane.latest = None

    def steering(self, run: Run) -> None:
        """A steer of its response goes out now: the lane stays with the run until its outcome is known."""
        run.steers += 1

    def withdraw(self, run: Run) -> None:
        """Give the place back: nothing was sent, or nothing is expected any more."""
        if not run.ended:
            self._end(run)

    def abandon(self, run: Run) -> None:
        """Nobody waits for this run any more; a sent one drains."""
        if run.sent and not run.ended and run.sink is not None:
            self.draining += 1
        run.sink = None
        if run.response_id is not None and not run.ended:
            self.hearing.pop(run.lane.name, None)
        if not run.sent:
            self.withdraw(run)

    def _hear(self, run: Run) -> None:
        if run.sink is not None:
            self.hearing[run.lane.name] = run.sink.deliver

    def route(self, event: ReceivedEvent) -> Run | None:
        """The run that this event belongs to, and what the event changes about it.

        ``None``: it belongs to nobody here. A terminal event or an error ends its run.
        """
        lane = self._lanes.get(event.stream_id)
        if lane is None:
            return self._route_without_lane(event)
        run = lane.runs[0] if lane.runs else None
        if run is not None and run.response_id is not None:
            if type(event) in _CHANGING:
                return self._change(lane, run, event)
            return run
        return self._before_start(lane, run, event)

    def refuse_unstarted(self) -> list[Run]:
        """End every run that is sent and has no response: the server takes no more of them."""
        refused = [
            run for run in self.runs if run.sent and run.response_id is None and not run.awaits_successor
        ]
        for run in refused:
            self._end(run)
        return refused

    def close(self) -> list[Run]:
        """The connection ended: every run that was in flight, oldest first on each lane."""
        self.is_open = False
        runs = self.runs
        for run in runs:
            self._end(run)
        for lane in self._lanes.values():
            lane.latest = None
            lane.stray = None
        return runs

    @property
    def runs(self) -> list[Run]:
        """What is in flight."""
        return [run for lane in self._lanes.values() for run in lane.runs]

    def _before_start(self, lane: Lane, run: Run | None, event: ReceivedEvent) -> Run | None:
        """An event on a lane whose run, if there is one, has no response yet."""
        if isinstance(event, _LIFE_CYCLE):
            return self._start(lane, run, event)
        if run is not None and run.awaits_successor and isinstance(event, _STEERING):
            return self._steer(run, event)
        is_end = isinstance(event, ErrorEvent | InvalidEvent) and event.wire_type in _ENDING_TYPES
        if lane.stray is not None:  # first in, first out: it is the stray's
            if is_end:
                lane.end_stray()
            return self._stray()
        if run is None or not run.sent:
            return self._stray()
        if is_end:
            self._end(run)
            return run
        is_beginning = isinstance(event, InvalidEvent) and event.wire_type in _BEGINNING_TYPES
        return run if is_beginning else self._stray()

    def _start(self, lane: Lane, run: Run | None, event: Any) -> Run | None:
        response_id = event.response.id
        if response_id == lane.stray and isinstance(event, _ENDS):
            lane.end_stray()
            return self._stray()
        if response_id in (lane.last_ended, lane.stray):
            return self._stray()
        if run is not None and run.awaits_successor:
            return self._succeed(lane, run, event)
        if run is None or not run.sent:
            # A successor that nobody here asked for (steering): the server's latest is not ours any more.
            lane.latest = None
            lane.stray = response_id
            if isinstance(event, _ENDS):
                lane.end_stray()
            return self._stray()
        lane.stray = None
        run.response_id = response_id
        self._hear(run)
        return self._change(lane, run, event)

    def _change(self, lane: Lane, run: Run, event: Any) -> Run | None:
        """An event that moves a started run."""
        if isinstance(event, ErrorEvent | InvalidEvent):
            if event.wire_type in _ENDING_TYPES:
                self._end(run)
            return run
        if isinstance(event, _STEERING):
            return self._steer(run, event)
        if event.response.id != run.response_id:
            return self._stray()
        if isinstance(event, _ENDS):
            self._end_response(run)
            # An abandoned answer is nobody's parent, and a later create has evicted this one.
            is_evicted = any(later.sent for later in lane.runs if later is not run)
            is_kept = run.sink is not None and not is_evicted
            if isinstance(event, ResponseCompleted) and is_kept:
                lane.latest = event.response.id
                lane.latest_is_stored = event.response.store is True
        elif isinstance(event, ResponseInProgress):
            self._release_fork(run)
        return run

    def _route_without_lane(self, event: ReceivedEvent) -> Run | None:
        """An error that names no lane belongs to the one run that was sent, or to nobody known."""
        if isinstance(event, ErrorEvent) and event.stream_id is None:
            sent = [run for run in self.runs if run.sent]
            if len(sent) == 1:
                self._end(sent[0])
                return sent[0]
        return self._stray()

    def _succeed(self, lane: Lane, run: Run, event: Any) -> Run | None:
        """The successor of a steered response begins: what was accepted is part of it."""
        if event.response.previous_response_id not in (None, run.earlier[-1]):
            return self._stray()
        run.awaits_successor = False
        run.steers -= run.accepted
        run.accepted = 0
        run.response_id = event.response.id
        self._hear(run)
        lane.latest = None
        return self._change(lane, run, event)

    def _steer(self, run: Run, event: Any) -> Run | None:
        """What becomes of a steer. When none is open any more, a response that has ended ends its run."""
        if event.steer.previous_response_id not in (None, run.response_id, *run.earlier):
            return self._stray()
        if isinstance(event, SteerAccepted):
            run.accepted += 1
        if isinstance(event, SteerAccepted) or not run.steers:
            return run
        if event.steer.id is not None and run.accepted:
            run.accepted -= 1
        run.steers -= 1
        if run.awaits_successor and not run.steers:
            run.awaits_successor = False
            self._end(run)
        return run

    def _end_response(self, run: Run) -> None:
        """The response has ended; the run with it, unless a steer may bring a successor."""
        if not run.steers:
            self._end(run)
            return
        run.awaits_successor = True
        run.earlier.append(run.response_id or "")
        run.lane.last_ended = run.response_id
        run.response_id = None
        self.hearing.pop(run.lane.name, None)
        self._release_fork(run)

    def _end(self, run: Run) -> None:
        if run.sent and run.sink is None:
            self.draining -= 1
        run.ended = True
        if run.response_id is not None:
            self.hearing.pop(run.lane.name, None)
        run.lane.runs.remove(run)
        run.lane.last_ended = run.response_id or run.lane.last_ended
        self.in_flight -= 1
        self._release_fork(run)

    def _release_fork(self, run: Run) -> None:
        if run.fork_of is not None:
            run.fork_of.forks -= 1
            run.fork_of = None

    def _stray(self) -> Run | None:
        self.strays += 1
        return None


_CHANGING: Final = frozenset({*_LIFE_CYCLE, *_STEERING, ErrorEvent, InvalidEvent})
_ENDING_TYPES: Final = TERMINAL | {ErrorEvent.type}
_BEGINNING_TYPES: Final = frozenset({ResponseCreated.type, ResponseQueued.type, ResponseInProgress.type})
