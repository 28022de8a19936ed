"""Which connection and lane a turn takes.

Decided synchronously, from the state of the lanes alone, and reserved at once; dialling and sending come
after. In this order:

1. A parent that only a lane remembers is continued there: on the lane itself when it is the owner's home,
   otherwise as a fork on another lane of the same connection.
2. The owner's home lane, when it is free.
3. Another lane of the home connection: an abandoned answer still drains on the home lane.
4. A connection on which this owner was answered before; then the fullest that has room, so that few
   sockets suffice. A connection that is still being dialled comes after those that are ready.
5. Nowhere: a new connection is needed.

A lane that is nobody's home is taken first. Where there is none, the least recently used idle lane changes
its owner: first one whose latest response is not needed there, because it is stored or there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .baselines import Baseline, Baselines, Plan
from .history import History
from .lane import Lane, LaneGroup


class Owner:
    """Whose turns belong together: a conversation, or the key of a history kept elsewhere.

    Attributes:
        baselines: what the server remembers of its responses.
        home: the lane of its last turn.
    """

    __slots__ = ("__weakref__", "baselines", "home")

    def __init__(self, baselines: Baselines | None = None) -> None:
        self.baselines = baselines if baselines is not None else Baselines()
        self.home: Lane | None = None


class Trunk(Protocol):
    """A connection, as far as placement sees it."""

    @property
    def lanes(self) -> LaneGroup:
        """Its lanes."""

    @property
    def is_ready(self) -> bool:
        """Dialled, not only being dialled."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a turn goes, and what it sends.

    Attributes:
        lane: the lane.
        plan: what is sent there.
        fork_of: the lane whose latest response is continued from this one.
    """

    lane: Lane
    plan: Plan
    fork_of: Lane | None = None


def place(
    owner: Owner | None,
    asked: History,
    candidates: Sequence[Plan],
    trunks: Sequence[Trunk],
    *,
    may_evict: bool = True,
) -> Seat | None:
    """The seat of a turn; ``None`` when a new connection is needed.

    Args:
        owner: whose turn it is; ``None`` for a turn without memory.
        asked: the whole input.
        candidates: what could be sent instead of it, the longest baseline first.
        trunks: the connections that take new turns; those that do not are not given.
        may_evict: a lane may be taken from an owner whose latest response only that lane remembers.
    """
    for plan in candidates:
        parent = plan.parent
        if parent is None or parent.stored:
            lane = _lane_for(owner, trunks, may_evict)
            return Seat(lane, plan) if lane is not None else None
        seat = _beside(owner, parent, plan, trunks, may_evict)
        if seat is not None:
            return seat
    lane = _lane_for(owner, trunks, may_evict)
    return Seat(lane, Plan(None, asked.items())) if lane is not None else None


def can_continue(parent: Baseline) -> bool:
    """Whether the server surely remembers this response: it is stored, or the latest of its lane."""
    place = parent.place
    return parent.stored or (
        isinstance(place, Lane)
        and place.latest == parent.response_id
        and not place.runs  # whoever waits to be sent there will evict it, maybe before a fork begins
    )


def _beside(
    owner: Owner | None, parent: Baseline, plan: Plan, trunks: Sequence[Trunk], may_evict: bool
) -> Seat | None:
    """A seat on or next to the lane that alone remembers the parent."""
    source = parent.place
    if not isinstance(source, Lane) or not can_continue(parent):
        return None
    if not source.lanes.has_room or not any(trunk.lanes is source.lanes for trunk in trunks):
        return None
    if source.is_idle and source.owner in (owner, None):
        return Seat(source, plan)
    if parent.pinned:
        return None
    beside = _vacant(source.lanes) or _replaceable(source.lanes, sparing=source)
    if beside is None and may_evict:
        beside = _evictable(source.lanes, sparing=source)
    return Seat(beside, plan, fork_of=source) if beside is not None else None


def _lane_for(owner: Owner | None, trunks: Sequence[Trunk], may_evict: bool) -> Lane | None:
    home = owner.home if owner is not None else None
    open_trunks = [trunk for trunk in trunks if trunk.lanes.has_room]
    if home is not None and any(trunk.lanes is home.lanes for trunk in open_trunks):
        if home.is_idle and home.owner is owner:
            return home
        beside = _vacant(home.lanes) or _replaceable(home.lanes)
        if beside is not None:
            return beside
    known = owner.baselines if owner is not None else ()
    warm = {baseline.place.lanes for baseline in known if isinstance(baseline.place, Lane)}
    ordered = [trunk.lanes for trunk in sorted(open_trunks, key=lambda trunk: _rank(trunk, warm))]
    return (
        _first(_vacant(lanes) for lanes in ordered)
        or _first(_replaceable(lanes) for lanes in ordered)
        or (_first(_evictable(lanes) for lanes in ordered) if may_evict else None)
    )


def _rank(trunk: Trunk, warm: set[LaneGroup]) -> tuple[bool, bool, int]:
    return (not trunk.is_ready, trunk.lanes not in warm, -trunk.lanes.in_flight)


def _first(lanes: Iterable[Lane | None]) -> Lane | None:
    return next((lane for lane in lanes if lane is not None), None)


def _vacant(lanes: LaneGroup) -> Lane | None:
    """A lane that is nobody's home: one used before, else a new name."""
    free = (lane for lane in lanes if lane.is_idle and lane.owner is None)
    return _least_used(free) or lanes.new_lane()


def _replaceable(lanes: LaneGroup, sparing: Lane | None = None) -> Lane | None:
    """An idle lane whose owner loses nothing by moving."""
    return _least_used(
        lane
        for lane in lanes
        if lane.is_idle and lane is not sparing and (lane.latest is None or lane.latest_is_stored)
    )


def _evictable(lanes: LaneGroup, sparing: Lane | None = None) -> Lane | None:
    """An idle lane whose owner may have to send everything again."""
    return _replaceable(lanes, sparing) or _least_used(
        lane for lane in lanes if lane.is_idle and lane is not sparing
    )


def _least_used(lanes: Iterable[Lane]) -> Lane | None:
    return min(lanes, key=lambda lane: lane.used, default=None)
