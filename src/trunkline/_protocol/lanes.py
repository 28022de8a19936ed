"""The lanes of one connection: which run is in flight on which lane, and to which run an event belongs.

Rules of the protocol:

- A lane is first in, first out, and never overlaps. Lanes run concurrently and interleave.
- On a named lane every event carries its ``stream_id``, on the default lane none does. Named lanes and the
  default lane are never mixed on one connection here.
- At most 16 responses are in flight on a connection, and at most 32 distinct lane names in its life.
- The protocol has no cancel. An abandoned response runs to its end; its lane *drains*.
- A lane remembers its latest response until the next create is sent on it.

The states of a `Run` and its transitions::

    RESERVED ──sending──▶ SENT ──life cycle, output▶ STARTED ──terminal event, error──▶ ENDED
        │                  │                          │   ▲
        │ withdraw,        │ error           terminal │   │ successor
        │ abandon          │              and a steer │   │ begins
        ▼                  ▼                  is open ▼   │
    WITHDRAWN            ENDED ◀──no steer is open── AWAITING

A response that fails without a reason, or an error without one, moves a run from STARTED to UNEXPLAINED. An
error that follows, another terminal event, or `abandon` ends the run.

`_EVENTS` is the table of what an event does in each state. A lane without a run in flight is in the state
`None`. A response that no request of ours began (`Lane.stray`) comes before the run that waits behind it.

Response ids do not decide to which run an event belongs, because some servers give one id to all responses of
a connection, or change the id within a response. Between two responses, the id tells the rest of the first
from the beginning of the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from typing import Final

from .events import (
    ErrorEvent,
    EventKind,
    InvalidEvent,
    ReceivedEvent,
    ResponseCompleted,
    ResponseEvent,
    ResponseFailedEvent,
    SteerAccepted,
    SteerEvent,
    SteerFailed,
)
from .lane import Lane, Run, RunState
from .refusals import LIMITS, is_unexplained, refusal
from .sink import Sink
from .steers import NOT_ACKNOWLEDGED, steer_failed

MAX_IN_FLIGHT: Final = 16
MAX_NAMES: Final = 32


class Move(Enum):
    """What an event does to a run."""

    DELIVER = auto()
    """It belongs to the run and changes nothing here."""

    BEGIN = auto()
    """It begins the response of the run, then moves it as in STARTED."""

    SUCCEED = auto()
    """It begins the successor of a steered response, then moves it as in STARTED."""

    ADVANCE = auto()
    """The model works on the response: forks of its parent need the source lane no longer."""

    FINISH = auto()
    """It ends the response; the run too, unless a steer is open."""

    FAIL = auto()
    """An error ends the run."""

    STEER = auto()
    """It reports the outcome of a steer."""

    STRAY = auto()
    """It belongs to no run."""


_RESPONSE_BEGINS: Final = (
    EventKind.CREATED,
    EventKind.QUEUED,
    EventKind.IN_PROGRESS,
    EventKind.COMPLETED,
    EventKind.INCOMPLETE,
    EventKind.FAILED,
)
_RESPONSE_ENDS: Final = (EventKind.COMPLETED, EventKind.INCOMPLETE, EventKind.FAILED)

_EVENTS: Final[Mapping[RunState | None, Mapping[EventKind, Move]]] = {
    # No run, or one that has not been sent: whatever arrives was not asked for.
    None: {},
    RunState.RESERVED: {},
    # Servers may leave out response.created, or all life-cycle events but the last: see `_may_begin`.
    RunState.SENT: {
        **dict.fromkeys(_RESPONSE_BEGINS, Move.BEGIN),
        EventKind.OUTPUT: Move.BEGIN,
        EventKind.ERROR: Move.FAIL,
    },
    RunState.STARTED: {
        EventKind.CREATED: Move.DELIVER,
        EventKind.QUEUED: Move.DELIVER,
        EventKind.IN_PROGRESS: Move.ADVANCE,
        **dict.fromkeys(_RESPONSE_ENDS, Move.FINISH),
        EventKind.OUTPUT: Move.DELIVER,
        EventKind.OTHER: Move.DELIVER,
        EventKind.STEER: Move.STEER,
        EventKind.ERROR: Move.FAIL,
    },
    RunState.UNEXPLAINED: {
        EventKind.FAILED: Move.FINISH,
        EventKind.ERROR: Move.FAIL,
    },
    RunState.AWAITING: {
        **dict.fromkeys(_RESPONSE_BEGINS, Move.SUCCEED),
        EventKind.STEER: Move.STEER,
        EventKind.ERROR: Move.FAIL,
    },
}


# Bound once: looking an enumeration's member up costs more than the rest of a comparison.
_OUTPUT: Final = EventKind.OUTPUT
_FAILED: Final = EventKind.FAILED
_IN_PROGRESS: Final = EventKind.IN_PROGRESS
_STARTED: Final = RunState.STARTED
_BEGIN: Final = Move.BEGIN
_SUCCEED: Final = Move.SUCCEED
_STRAY: Final = Move.STRAY


class Lanes:
    """All lanes of one connection.

    Args:
        named: use named lanes; otherwise the default lane alone, one run at a time.
        max_in_flight: the maximum number of runs at a time, at most 16.
        max_names: the maximum number of distinct lane names, at most 32.

    Attributes:
        delta_sinks: for each lane whose response has begun and has a reader, the callback for its deltas:
            the shortcut past `route`. Read by the connection, written here. See
            docs/design/0006-shortcut-for-text-deltas.md.
        in_flight: the number of runs, reserved ones included.
        draining: the number of abandoned runs that were sent.
        strays: the number of events that belonged to no run.
        announces: the server has sent ``response.created``, so that its responses begin with it.
        repeats_ids: the server gave one id to several responses, so that no response can be named.
    """

    def __init__(
        self,
        *,
        named: bool,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_names: int = MAX_NAMES,
    ) -> None:
        self.named = named
        self.max_in_flight: int = min(max_in_flight, MAX_IN_FLIGHT) if named else 1
        self.max_names: int = min(max_names, MAX_NAMES) if named else 1
        self.in_flight: int = 0
        self.draining: int = 0
        self.strays: int = 0
        self.is_open: bool = True
        self.announces: bool = False
        self.repeats_ids: bool = False
        self._tells_ids_apart: bool = named
        self._gave_two_ids: bool = False
        self._requests = 0
        self.delta_sinks: dict[str | None, Callable[[ReceivedEvent], None]] = {}
        self._uses = 0
        self._lanes: dict[str | None, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def has_room(self) -> bool:
        """Whether one more run may be reserved."""
        return self.is_open and self.in_flight < self.max_in_flight

    @property
    def has_clear_ids(self) -> bool:
        """Whether the id of a response is that of no other one.

        A server may give one id to all responses of a connection. It is known not to if it has lanes, or once
        it gave two ids. Until then, an id is clear as long as no second request was sent.
        """
        return not self.repeats_ids and (self._tells_ids_apart or self._requests < 2)

    @property
    def keeps_clear_ids(self) -> bool:
        """Whether the id of a response will never be that of another one: as `has_clear_ids`, for good."""
        return self.has_clear_ids and (self._tells_ids_apart or not self.is_open)

    @property
    def may_grow(self) -> bool:
        """Whether a name is left for a new lane."""
        return len(self._lanes) < self.max_names

    @property
    def runs(self) -> list[Run]:
        """The runs in flight."""
        return [run for lane in self._lanes.values() for run in lane.runs]

    # Changes that this side makes.

    def new_lane(self) -> Lane | None:
        """A lane with a name that was not used before; ``None`` when all names are used."""
        if not self.may_grow:
            return None
        name = f"lane-{len(self._lanes)}" if self.named else None
        lane = self._lanes[name] = Lane(self, name)
        return lane

    def reserve(self, lane: Lane, sink: Sink, *, fork_of: Lane | None = None) -> Run:
        """A new run on the lane. A fork holds its source lane until its response is in progress."""
        run = Run(lane, sink, fork_of)
        lane.runs.append(run)
        self.in_flight += 1
        self._uses += 1
        lane.used = self._uses
        if fork_of is not None:
            fork_of.forks += 1
        return run

    def sending(self, run: Run) -> None:
        """The request is sent now: the response that the lane remembered can no longer be named."""
        run.state = RunState.SENT
        run.lane.latest = None
        self._requests += 1

    def steering(self, run: Run) -> None:
        """A steer is sent now: the lane stays with the run until its outcome is known."""
        run.steers += 1
        run.steers_sent += 1

    def withdraw(self, run: Run) -> None:
        """End the run: it was not sent, or its answer is given up."""
        if not run.is_over:
            self._end(run)

    def abandon(self, run: Run, now: float) -> None:
        """The caller left. A run that was sent drains, another one ends."""
        if run.is_over or run.sink is None:
            return
        if run.state is RunState.UNEXPLAINED:
            self._end(run)
            return
        run.sink = None
        run.left_at = now
        if run.state is RunState.RESERVED:
            self._end(run)
            return
        self.draining += 1
        if run.state is _STARTED:  # another run of the lane may be the one that is answered
            self.delta_sinks.pop(run.lane.name, None)

    def refuse_unstarted(self) -> list[Run]:
        """End every run that was sent and has no response: the server takes no more requests."""
        refused = [run for run in self.runs if run.state is RunState.SENT]
        for run in refused:
            self._end(run)
        return refused

    def close(self) -> list[Run]:
        """End every run, because the connection ended; oldest first on each lane.

        The runs keep what is known of them (`Run.was_sent`, `Run.has_started`).
        """
        self.is_open = False
        runs = self.runs
        for run in runs:
            self._end(run)
        for lane in self._lanes.values():
            lane.latest = None
            lane.stray = None
        return runs

    # Changes that the server makes.

    def route(self, event: ReceivedEvent) -> Run | None:
        """The run that an event belongs to, moved by it; ``None`` for an event that belongs to no run.

        A terminal event or an error ends its run.
        """
        lane = self._lanes.get(event.stream_id)
        if lane is None:
            return self._route_without_lane(event)
        run = lane.runs[0] if lane.runs else None
        kind = event.kind
        if kind is _OUTPUT and run is not None and run.state is _STARTED:
            return run  # most events: Move.DELIVER, without the look-up
        if isinstance(event, InvalidEvent):
            return self._route_invalid(lane, run, event)
        # A lane is first in, first out: events come from a stray response before they come from the run.
        # An error ends the stray; its other events have no response id that could tell them apart.
        if lane.stray is not None and (run is None or run.state is not _STARTED):
            if kind is EventKind.ERROR:
                lane.end_stray()
                return self._stray()
            if kind is EventKind.OUTPUT or kind is EventKind.OTHER:
                return self._stray()
        move = _EVENTS[run.state if run is not None else None].get(kind, _STRAY)
        if run is None or move is _STRAY:
            return self._stray_response(lane, event) if isinstance(event, ResponseEvent) else self._stray()
        if isinstance(event, ResponseEvent):
            return self._on_response(lane, run, event, move)
        if move is _BEGIN:
            if lane.last_ended is not None and self.announces:
                return self._stray()  # the rest of the response that ended before
            self._begin(run, "")
        if move is Move.STEER:
            assert isinstance(event, SteerEvent)
            return self._on_steer(run, event)
        if move is Move.FAIL:
            if isinstance(event, ErrorEvent) and self._may_be_explained(run, event):
                self._leave_unexplained(run)
            else:
                self._end(run)
        return run

    def refused_steer(self, event: ErrorEvent) -> SteerFailed | None:
        """The refusal of a steer that an error reports; ``None`` if it is about something else.

        Servers that do not know steers answer with an error, often without a ``stream_id``, and the response
        goes on. An error of the response itself is a fault of the server or names the response.
        """
        by_name = self._lanes.get(event.stream_id)
        if by_name is not None:
            lanes = [by_name]
        elif event.stream_id is None:
            lanes = list(self._lanes.values())
        else:
            return None
        heads = (lane.runs[0] for lane in lanes if lane.runs)
        steered = next((run for run in heads if run.steers_sent > run.steers_acknowledged), None)
        if steered is None or isinstance(event.response_id, str):
            return None
        if refusal(event, started=True, now=0.0).is_transient or event.code in LIMITS:
            return None
        return steer_failed(steered.lane.name, event.code, event.message)

    def unanswered_steer(self, run: Run, number: int) -> SteerFailed | None:
        """The refusal of a steer that the server ignores; ``None`` if it was acknowledged.

        Args:
            run: the run that was steered.
            number: how many steers had been sent into the run, this one included.
        """
        if run.is_over or run.steers_acknowledged >= number:
            return None
        return steer_failed(run.lane.name, NOT_ACKNOWLEDGED, "the server ignores the steer")

    def _on_response(self, lane: Lane, run: Run, event: ResponseEvent, move: Move) -> Run | None:
        """A life-cycle event of the response that the run expects, or of one before it."""
        response_id = event.response.id
        if move is _BEGIN or move is _SUCCEED:
            if response_id == lane.stray or not self._may_begin(lane, event):
                return self._stray_response(lane, event)
            if move is _SUCCEED and not self._is_successor(run, event):
                return self._stray()
            self._begin(run, response_id)
        elif response_id != run.response_id:
            self._name(run, response_id)
        if event.kind.is_terminal:
            self._finish(run, event)
        elif event.kind is _IN_PROGRESS:
            self._release_fork(run)
        return run

    def _may_begin(self, lane: Lane, event: ResponseEvent) -> bool:
        """Whether the event begins a response; otherwise it repeats one of the response that ended before."""
        if event.kind is EventKind.CREATED:
            self.announces = True
            # Servers that give one id to several responses may begin two of them with equal frames.
            frame = hash(event.raw)
            if self._gave_two_ids and not self.repeats_ids and frame == lane.created:
                return False
            lane.created = frame
            return True
        return event.response.id != lane.last_ended or not self.announces

    def _is_successor(self, run: Run, event: ResponseEvent) -> bool:
        parent = event.response.previous_response_id
        return parent is None or parent == run.earlier[-1]

    def _begin(self, run: Run, response_id: str) -> None:
        lane = run.lane
        if run.state is RunState.AWAITING:  # every accepted steer is part of the successor
            run.steers -= run.accepted
            run.accepted_ids = ()
            lane.latest = None
        else:
            lane.stray = None
        run.state = _STARTED
        self._name(run, response_id)
        if run.sink is not None:
            self.delta_sinks[lane.name] = run.sink.deliver_delta

    def _name(self, run: Run, response_id: str) -> None:
        run.response_id = response_id
        if not response_id:
            return
        for lane in self._lanes.values():
            if lane is not run.lane and lane.runs and lane.runs[0].response_id == response_id:
                self.repeats_ids = True
            if lane.last_ended:
                if lane.last_ended == response_id:
                    self.repeats_ids = True
                else:
                    self._tells_ids_apart = self._gave_two_ids = True

    def _finish(self, run: Run, event: ResponseEvent) -> None:
        """The response has ended; the run with it, unless a steer may bring a successor."""
        lane = run.lane
        if event.kind is _FAILED and self._may_be_explained(run, event):
            self._leave_unexplained(run)
        elif run.steers:
            run.state = RunState.AWAITING
            run.earlier = (*run.earlier, event.response.id)
            lane.last_ended = event.response.id
            run.response_id = None
            self.delta_sinks.pop(lane.name, None)
            self._release_fork(run)
        else:
            self._end(run)
        # An abandoned answer is never a parent, and a create that was sent since has evicted this one.
        is_evicted = any(later.was_sent for later in lane.runs if later is not run)
        if isinstance(event, ResponseCompleted) and run.sink is not None and not is_evicted:
            lane.latest = event.response.id or None
            lane.latest_is_stored = event.response.store is True

    def _leave_unexplained(self, run: Run) -> None:
        run.state = RunState.UNEXPLAINED
        self.delta_sinks.pop(run.lane.name, None)
        self._release_fork(run)

    def _may_be_explained(self, run: Run, event: ResponseEvent | ErrorEvent) -> bool:
        """Whether the reason of a failed response may follow in another event, which then belongs to the run.

        Its lane takes no other run meanwhile. `abandon` ends the wait.
        """
        return (
            isinstance(event, ResponseFailedEvent | ErrorEvent)
            and run.state is _STARTED
            and run.sink is not None
            and not run.steers
            and len(run.lane.runs) == 1
            and is_unexplained(event)
        )

    def _on_steer(self, run: Run, event: SteerEvent) -> Run | None:
        """The outcome of a steer. Once none is open, a run whose response has ended ends."""
        if event.steer.previous_response_id not in (None, run.response_id, *run.earlier):
            return self._stray()
        name = event.steer.id
        if isinstance(event, SteerAccepted):
            if name is not None and name in run.accepted_ids:  # repeated
                return run
            if run.steers == run.accepted:  # given up before: the successor will belong to no run
                return self._stray()
            run.accepted_ids = (*run.accepted_ids, name)
            run.steers_acknowledged += 1
            return run
        if name in run.accepted_ids:
            at = run.accepted_ids.index(name)
            run.accepted_ids = run.accepted_ids[:at] + run.accepted_ids[at + 1 :]
        elif run.steers == run.accepted:  # none is open: the server repeats an event
            return run
        else:  # refused at once: some servers give such a steer an id as well
            run.steers_acknowledged += 1
        run.steers -= 1
        if run.state is RunState.AWAITING and not run.steers:
            self._end(run)
        return run

    def _route_invalid(self, lane: Lane, run: Run | None, event: InvalidEvent) -> Run | None:
        """A known event that cannot be read: it concerns the run that it would have concerned."""
        kind = event.intended_kind
        is_end = kind.is_terminal or kind is EventKind.ERROR
        if run is None or run.state is not _STARTED:
            if lane.stray is not None:
                if is_end:
                    lane.end_stray()
                return self._stray()
            if run is None or run.state is RunState.RESERVED:
                return self._stray()
            if not is_end and not kind.is_beginning:
                return self._stray()
        if is_end:
            self._end(run)
        return run

    def _route_without_lane(self, event: ReceivedEvent) -> Run | None:
        """An error that names no lane belongs to the one run that was sent; else to none that is known.

        The outcome of a steer names a response: servers that do not find it do not know its lane either.
        """
        if isinstance(event, SteerEvent) and event.stream_id is None:
            target = event.steer.previous_response_id
            steered = (run for run in self.runs if run.steers and target in (run.response_id, *run.earlier))
            found = next(steered, None)
            return self._on_steer(found, event) if found is not None else self._stray()
        if isinstance(event, ErrorEvent) and event.stream_id is None:
            sent = [run for run in self.runs if run.was_sent]
            if len(sent) == 1:
                self._end(sent[0])
                return sent[0]
        return self._stray()

    def _stray_response(self, lane: Lane, event: ResponseEvent) -> Run | None:
        """A response that no request of ours began, or the rest of one that has ended."""
        response_id = event.response.id
        if response_id == lane.last_ended:
            return self._stray()
        if response_id != lane.stray:
            # The successor of a response that was steered by an abandoned turn: the latest response of the
            # lane is not ours any more.
            lane.latest = None
            lane.stray = response_id
        if event.kind.is_terminal:
            lane.end_stray()
        return self._stray()

    def _end(self, run: Run) -> None:
        lane = run.lane
        if run.was_sent and run.sink is None:
            self.draining -= 1
        if run.state is _STARTED:
            self.delta_sinks.pop(lane.name, None)
        run.state = RunState.ENDED if run.was_sent else RunState.WITHDRAWN
        lane.runs.remove(run)
        lane.last_ended = run.response_id or lane.last_ended
        self.in_flight -= 1
        self._release_fork(run)

    def _release_fork(self, run: Run) -> None:
        if run.fork_of is not None:
            run.fork_of.forks -= 1
            run.fork_of = None

    def _stray(self) -> Run | None:
        self.strays += 1
        return None
