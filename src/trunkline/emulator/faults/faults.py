"""The set of faults of an emulator: matching and applying them, and the record of the applied ones."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from .._protocol.events import Event
from .._service.moves import Move
from ..gate import Gate
from .action import Action
from .fault import Fault, Fired, Place
from .one_place import in_one_place
from .strike import strike

_LAST = (Action.REORDER, Action.TRUNCATE, Action.CORRUPT, Action.FRAGMENT)
_OF_ERRORS = (Action.FLAT_ERROR, Action.CODEX_ERROR)
_AT_UPGRADE = (Action.REFUSE_UPGRADE, Action.IGNORE_UPGRADE)
_AT_REQUEST = (Action.REJECT, Action.FORGET, Action.SLOW_READ, Action.IGNORE_PARENT)
_AT_RESPONSE = (Action.ONE_PLACE,)
_NOT_AT_EVENTS = frozenset({*_AT_UPGRADE, *_AT_REQUEST, *_AT_RESPONSE})


class Faults:
    """The faults of an emulator, and the applied ones (`fired`, in order)."""

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self.fired: list[Fired] = []
        self._seed = seed
        self._laid: list[tuple[Fault, random.Random]] = []
        self._struck: dict[int, int] = {}
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault | Action | str, /, **details: Any) -> Fault:
        """Add a fault, given as an object or as an action with its fields."""
        if not isinstance(fault, Fault):
            fault = Fault(Action(fault), **details)
        # One generator each, so that adding a fault does not change when the others are applied.
        self._laid.append((fault, random.Random(f"{self._seed}:{len(self._laid)}")))
        return fault

    def hold(self, **conditions: Any) -> Gate:
        """Hold a response before an event until the returned gate is opened.

        `conditions` are those of a `Fault`: ``hold(event=6)`` holds the next response before its sixth event,
        ``hold(event_type="response.completed", times=None)`` every response before its end.
        """
        gate = Gate()
        self.add(Action.STALL, gate=gate, **conditions)
        return gate

    def __bool__(self) -> bool:
        return bool(self._laid)

    def clear(self) -> None:
        """Remove all faults; `fired` is kept."""
        self._laid.clear()
        self._struck.clear()

    def at_upgrade(self, place: Place) -> Fault | None:
        """Return the fault to apply to an upgrade, or None."""
        for fault in self._strikes(place, _AT_UPGRADE):
            return fault
        return None

    def at_request(self, place: Place) -> list[Fault]:
        """Return the faults to apply to a request, in the order in which they were added."""
        return list(self._strikes(place, _AT_REQUEST))

    def play(self, moves: Iterator[Move], place: Place) -> Iterator[Move]:
        """Yield the moves of a response after applying the faults that match it or its events."""
        for fault in self._strikes(place, _AT_RESPONSE):
            moves = in_one_place(moves, fault.place)
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
        # Actions that turn an event into a raw message come last: later ones could not change it as an event.
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
        """Apply faults to an ``error`` event that another fault has created."""
        if type(move) is not Event or move.type != "error":
            return [move]
        return self._struck_event(move, number, place, [])[0]

    def _event_faults(self, event: Event, number: int, place: Place) -> Iterator[Fault]:
        for index, (fault, dice) in enumerate(self._laid):
            if fault.action in _NOT_AT_EVENTS:
                continue
            if fault.action in _OF_ERRORS and event.type != "error":
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
