"""Faults on demand: what goes wrong, where, how often, and what of it has happened."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .events import Event
from .mishaps import strike
from .moves import Move


class Action(StrEnum):
    """What a fault does."""

    # At an upgrade.
    REFUSE_UPGRADE = "refuse_upgrade"
    """Answer with `status`, `headers` and `body` instead of a WebSocket."""
    IGNORE_UPGRADE = "ignore_upgrade"
    """Say nothing for `seconds`, or for ever."""
    # At a request.
    REJECT = "reject"
    """Answer with an error: `status`, `code`, `message`, `headers`."""
    FORGET = "forget"
    """Drop every lane's memory before the request is looked at."""
    SLOW_READ = "slow_read"
    """Read nothing more from the client for `seconds`."""
    # At an event.
    DROP = "drop"
    """Break off without a close frame."""
    RESET = "reset"
    """Break off with a TCP reset."""
    CLOSE = "close"
    """Close with `close_code`."""
    STALL = "stall"
    """Send nothing of this response for `seconds`, or for ever."""
    DELAY = "delay"
    """Send the event `seconds` later."""
    TRUNCATE = "truncate"
    """Send half of the event."""
    CORRUPT = "corrupt"
    """Send something that is no JSON."""
    DUPLICATE = "duplicate"
    """Send the event twice."""
    REORDER = "reorder"
    """Send the event after the one that follows it."""
    FRAGMENT = "fragment"
    """Send the event in several WebSocket frames; this is legal."""
    UNKNOWN_EVENT = "unknown_event"
    """Send an event of a type that nobody knows, before this one; this is legal."""
    UNKNOWN_FIELD = "unknown_field"
    """Add a field that nobody knows; this is legal."""
    OMIT = "omit"
    """Leave out the `fields`."""
    OVERSIZE = "oversize"
    """Pad the event to `size_bytes`."""
    FLAT_ERROR = "flat_error"
    """Send an ``error`` event in the flat shape of older servers."""
    FAIL = "fail"
    """End the response with an ``error`` event: `status`, `code` (null by default), `headers`."""
    CONNECTION_LIMIT = "connection_limit"
    """Say that the connection's time is up, and close it."""


_LAST = (Action.REORDER, Action.TRUNCATE, Action.CORRUPT, Action.FRAGMENT)
_AT_UPGRADE = (Action.REFUSE_UPGRADE, Action.IGNORE_UPGRADE)
_AT_REQUEST = (Action.REJECT, Action.FORGET, Action.SLOW_READ)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fault may strike. Numbers count from 1."""

    connection: int | None = None
    connection_id: str | None = None
    request: int | None = None
    lane: str | None = None
    model: str | None = None
    transport: str = "websocket"
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Every condition that is given has to hold; numbers count from 1."""

    action: Action | str
    connection: int | None = None
    """On the n-th connection (upgrades are counted, refused ones too)."""
    request: int | None = None
    """At the n-th request for a response, over all connections."""
    event: int | None = None
    """At the n-th event of a response."""
    event_type: str | None = None
    """At events of this type."""
    lane: str | None = None
    model: str | None = None
    transport: str | None = None
    probability: float = 1.0
    """How likely it strikes where it could; decided by the seed of `Faults`."""
    times: int | None = 1
    """How often it strikes at most; None is without limit."""
    status: int = 503
    code: str | None = None
    message: str = "The emulator was told to fail."
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    seconds: float | None = None
    close_code: int = 1011
    size_bytes: int = 1024 * 1024
    fields: tuple[str, ...] = ("sequence_number",)

    def __post_init__(self) -> None:
        # The name of an action will do, as in a file.
        object.__setattr__(self, "action", Action(self.action))

    def holds_at(self, place: Place) -> bool:
        """Whether the conditions on connection and request hold."""
        for name in ("connection", "request", "lane", "model", "transport"):
            wanted = getattr(self, name)
            if wanted is not None and wanted != getattr(place, name):
                return False
        return True

    def holds_for(self, event: Event, number: int) -> bool:
        """Whether the conditions on the event hold."""
        return self.event in (None, number) and self.event_type in (None, event.type)


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has struck."""

    fault: Fault
    place: Place
    event_type: str | None = None
    event_number: int | None = None

    @property
    def action(self) -> Action:
        """What it did."""
        return Action(self.fault.action)


class Faults:
    """The faults laid down, and those that have struck (`fired`, in order)."""

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self.fired: list[Fired] = []
        self._seed = seed
        self._laid: list[tuple[Fault, random.Random]] = []
        self._struck: dict[int, int] = {}
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault | Action | str, /, **details: Any) -> Fault:
        """Lay down a fault, given whole or as an action with details."""
        if not isinstance(fault, Fault):
            fault = Fault(Action(fault), **details)
        # Each has dice of its own, so that adding one fault does not change when another strikes.
        self._laid.append((fault, random.Random(f"{self._seed}:{len(self._laid)}")))
        return fault

    def __bool__(self) -> bool:
        return bool(self._laid)

    def clear(self) -> None:
        """Take back all faults; what has struck stays on record."""
        self._laid.clear()
        self._struck.clear()

    def at_upgrade(self, place: Place) -> Fault | None:
        """The fault that strikes an upgrade, if one does."""
        for fault in self._strikes(place, _AT_UPGRADE):
            return fault
        return None

    def at_request(self, place: Place) -> list[Fault]:
        """The faults that strike a request, in the order in which they were laid down."""
        return list(self._strikes(place, _AT_REQUEST))

    def play(self, moves: Iterator[Move], place: Place) -> Iterator[Move]:
        """The moves of a response, with whatever strikes them."""
        number = 0
        held: list[Move] = []
        for move in moves:
            if type(move) is not Event or not self._laid:
                yield move
                continue
            number += 1
            struck, over = self._struck_event(move, number, place, held)
            yield from struck
            if over:
                return
        yield from held

    def _struck_event(
        self, event: Event, number: int, place: Place, held: list[Move]
    ) -> tuple[list[Move], bool]:
        moves: list[Move] = [event]
        over = False
        after, held[:] = held[:], []
        # What makes a message of an event comes last: it cannot be changed as an event after that.
        struck = sorted(self._event_faults(event, number, place), key=lambda fault: fault.action in _LAST)
        for fault in struck:
            if fault.action is Action.REORDER:
                held[:], moves = moves, []
            else:
                moves, ends = strike(moves, event, fault, place.lane)
                over = over or ends
        if over and event.type != "error":
            moves = [new for move in moves for new in self._struck_error(move, number, place)]
        return [*moves, *after], over

    def _struck_error(self, move: Move, number: int, place: Place) -> list[Move]:
        """An error event that a fault has made can be struck itself."""
        if type(move) is not Event or move.type != "error":
            return [move]
        return self._struck_event(move, number, place, [])[0]

    def _event_faults(self, event: Event, number: int, place: Place) -> Iterator[Fault]:
        for index, (fault, dice) in enumerate(self._laid):
            if fault.action in _AT_UPGRADE or fault.action in _AT_REQUEST:
                continue
            if fault.action is Action.FLAT_ERROR and event.type != "error":
                continue
            if fault.holds_at(place) and fault.holds_for(event, number) and self._falls(index, fault, dice):
                self.fired.append(Fired(fault, place, event.type, number))
                yield fault

    def _strikes(self, place: Place, actions: tuple[Action, ...]) -> Iterator[Fault]:
        for index, (fault, dice) in enumerate(self._laid):
            if fault.action in actions and fault.holds_at(place) and self._falls(index, fault, dice):
                self.fired.append(Fired(fault, place))
                yield fault

    def _falls(self, index: int, fault: Fault, dice: random.Random) -> bool:
        struck = self._struck.get(index, 0)
        if fault.times is not None and struck >= fault.times:
            return False
        if fault.probability < 1 and dice.random() >= fault.probability:
            return False
        self._struck[index] = struck + 1
        return True
