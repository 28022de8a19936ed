"""Placement: the connection and lane that a turn takes.

Pure: `assign` decides from the state of the lanes, without changing it. The caller reserves the seat, dials
    and closes. A decision is made when a turn begins, and again for the oldest waiting turn on each change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from .._protocol.history import History
from .._protocol.lane import Lane, LaneGroup
from .._protocol.quiet import QuietStruct
from .baselines import Baseline, Baselines, Plan


class Owner:
    """Identity of the turns that belong together: a conversation, or the key of a history kept elsewhere.

    Attributes:
        baselines: the responses of this owner that the service may remember.
        home: the lane of its last turn.
        name: its name, by which gateways know it again; ``None`` if it has none yet.
    """

    __slots__ = ("__weakref__", "baselines", "home", "name")

    def __init__(self, baselines: Baselines | None = None, name: bytes | None = None) -> None:
        self.baselines: Baselines = baselines if baselines is not None else Baselines()
        self.home: Lane | None = None
        self.name: bytes | None = name


class Candidate(Protocol):
    """A connection, as placement sees it."""

    @property
    def lanes(self) -> LaneGroup:
        """Its lanes."""

    @property
    def is_ready(self) -> bool:
        """Whether it is open, not only being dialled."""

    @property
    def takes_turns(self) -> bool:
        """Whether it takes new turns."""


class Asking(QuietStruct, frozen=True):
    """A turn that needs a seat.

    Attributes:
        owner: whose turn it is; ``None`` for a turn without memory.
        asked: the whole input.
        plans: the deltas that could be sent instead, the longest baseline first.
        avoiding: connections on which an earlier attempt of the turn failed.
    """

    owner: Owner | None
    asked: History
    plans: Sequence[Plan]
    avoiding: Collection[Candidate] = ()


class Bounds(QuietStruct, frozen=True):
    """What the pool allows at this moment.

    Attributes:
        may_dial: one more connection may be dialled.
        may_evict: a lane may be taken from an owner whose latest response only that lane remembers.
        max_draining: abandoned answers on one connection, from which on it takes turns only as a last resort.
    """

    may_dial: bool
    may_evict: bool
    max_draining: int


class Seat(QuietStruct, frozen=True):
    """A place on an existing connection.

    Attributes:
        group: the lanes of the connection.
        lane: the lane; ``None`` for a new one.
        plan: the items to send there.
        fork_of: the lane whose latest response is continued from this one.
    """

    group: LaneGroup
    lane: Lane | None
    plan: Plan
    fork_of: Lane | None = None


class Placement(QuietStruct, frozen=True):
    """The decision for one turn.

    Attributes:
        seat: its place; ``None`` if it takes the dialled connection or has to wait.
        dials: another connection is needed. Without a seat, the turn takes it.
        closes: the idle connection that has to give way before the dial.
    """

    seat: Seat | None = None
    dials: bool = False
    closes: Candidate | None = None


def assign(
    turn: Asking,
    connections: Sequence[Candidate],
    bounds: Bounds,
    elsewhere: Iterable[Candidate] = (),
) -> Placement:
    """The placement of a turn; one without seat and dial has to wait.

    Args:
        turn: the turn.
        connections: the connections to its URL.
        bounds: what the pool allows.
        elsewhere: the connections to other URLs.
    """
    usable = [each for each in connections if each.takes_turns and each not in turn.avoiding]
    calm = [each for each in usable if each.lanes.draining < bounds.max_draining]
    dials = False
    # 1. A connection on which many abandoned answers drain is slow and soon full. It takes the turn only
    #    while no other one is ready, and another is dialled meanwhile, for which this turn does not wait.
    if not any(each.is_ready and each.lanes.has_room for each in calm):
        crowded = [each for each in usable if each.is_ready and each.lanes.has_room]
        if crowded:
            dials = bounds.may_dial and not any(each.lanes.has_room for each in calm)
            calm = crowded
    # 2. A seat on an open connection.
    seat = _seat(turn, calm, may_evict=bounds.may_evict)
    if seat is not None:
        return Placement(seat, dials=dials)
    # 3. A new connection.
    if bounds.may_dial:
        return Placement(dials=True)
    # 4. A new connection in place of an idle one to another URL: the maximum counts for all URLs together.
    idle = next((each for each in elsewhere if each.is_ready and not each.lanes.in_flight), None)
    if idle is not None:
        return Placement(dials=True, closes=idle)
    # 5. A connection that failed this turn before is better than none.
    if turn.avoiding:
        return assign(Asking(turn.owner, turn.asked, turn.plans), connections, bounds)
    # 6. The queue.
    return Placement()


def first_seat(turn: Asking, connection: Candidate) -> Seat:
    """The seat on a connection that was dialled for the turn: no lane of it remembers anything."""
    seat = _seat(turn, [connection], may_evict=True)
    assert seat is not None, "a new connection has room for the turn that it was dialled for"
    return seat


def can_continue(parent: Baseline) -> bool:
    """Whether the service surely remembers a response: it is stored, or the latest of its lane."""
    lane = parent.lane
    if not parent.has_clear_id:
        return False
    # A run that waits on the lane will evict the response when it is sent, maybe before a fork begins.
    return parent.stored or (lane is not None and lane.latest == parent.response_id and not lane.runs)


def _seat(turn: Asking, connections: Sequence[Candidate], *, may_evict: bool) -> Seat | None:
    owner = turn.owner
    with_room = [each for each in connections if each.lanes.has_room]
    groups = [each.lanes for each in with_room]
    plan: Plan | None = None
    for candidate in turn.plans:
        parent = candidate.parent
        # 1. Without a parent, or with a stored one, any lane will do.
        if parent is None or parent.stored:
            plan = candidate
            break
        source = parent.lane
        if source is None or source.lanes not in groups or not can_continue(parent):
            continue
        # 2. The parent is remembered by its lane alone: continue there, if the lane is not another's home.
        if source.is_idle and source.owner in (owner, None):
            return Seat(source.lanes, source, candidate)
        # 3. Otherwise fork it on another lane of its connection. A pinned parent cannot be forked: the
        #    service holds a steer for the next request on its own lane.
        if not parent.pinned:
            beside = _free(source.lanes, sparing=source, may_evict=may_evict)
            if beside is not None:
                return Seat(source.lanes, beside.lane, candidate, fork_of=source)
    if plan is None:
        plan = Plan(None, turn.asked.items())
    # 4. The home lane: its prompt cache is warm.
    home = owner.home if owner is not None else None
    if home is not None and home.lanes in groups:
        if home.is_idle and home.owner is owner:
            return Seat(home.lanes, home, plan)
        # 5. Another lane of the home connection: an abandoned answer still drains on the home lane.
        beside = _free(home.lanes, may_evict=False)
        if beside is not None:
            return Seat(home.lanes, beside.lane, plan)
    # 6. The connection that is warmest: ready, then one that answered this owner before, then the fullest,
    #    so that few sockets suffice. A lane that costs nobody a baseline is taken on any of them before one
    #    that does.
    known = owner.baselines if owner is not None else ()
    warm = {baseline.lane.lanes for baseline in known if baseline.lane is not None}
    with_room.sort(key=lambda each: (not each.is_ready, each.lanes not in warm, -each.lanes.in_flight))
    for find in (_unowned, _replaceable, _evictable) if may_evict else (_unowned, _replaceable):
        for each in with_room:
            found = find(each.lanes)
            if found is not None:
                return Seat(each.lanes, found.lane, plan)
    return None


class _Found(QuietStruct, frozen=True):
    """A lane that may be taken; ``None`` for a new one."""

    lane: Lane | None


def _free(group: LaneGroup, *, may_evict: bool, sparing: Lane | None = None) -> _Found | None:
    """A lane of this connection, at the least cost for other owners."""
    found = _unowned(group) or _replaceable(group, sparing)
    return found or (_evictable(group, sparing) if may_evict else None)


def _unowned(group: LaneGroup) -> _Found | None:
    """A lane that is no home: a used one, else a new name."""
    return _least_used(lane for lane in group if lane.is_idle and lane.owner is None) or (
        _Found(None) if group.may_grow else None
    )


def _replaceable(group: LaneGroup, sparing: Lane | None = None) -> _Found | None:
    """An idle lane whose latest response is not needed there: it is stored, or there is none."""
    return _least_used(
        lane
        for lane in group
        if lane.is_idle and lane is not sparing and (lane.latest is None or lane.latest_is_stored)
    )


def _evictable(group: LaneGroup, sparing: Lane | None = None) -> _Found | None:
    """An idle lane whose owner may have to send its next turn in full."""
    return _least_used(lane for lane in group if lane.is_idle and lane is not sparing)


def _least_used(lanes: Iterable[Lane]) -> _Found | None:
    lane = min(lanes, key=lambda lane: lane.used, default=None)
    return _Found(lane) if lane is not None else None
