"""The order of one response's events, by their ``sequence_number``.

Numbers count within a response. Some servers leave them out, or send the same one always: they are trusted
once two in a row have counted. From then on an event that comes again, to the byte, is dropped; another with
an old number shows that the server counts anew within the response, and numbers mean nothing any more;
one that comes too early waits for those before it, but not for ever: a held text is worse than a gap.
"""

from __future__ import annotations

from .events import (
    BEFORE_OUTPUT,
    TERMINAL,
    ErrorEvent,
    ServerEvent,
    SteerAccepted,
    SteerFailed,
    SteerPending,
)

MAX_HELD = 32
RECENT = 15
"""How many events are known again, less one; a mask."""
_NEVER = -2
_APART = (ErrorEvent, SteerAccepted, SteerFailed, SteerPending)
"""Answers to requests more than parts of a response: they may have numbers of their own."""


class Sequence:
    """Puts events in order.

    Attributes:
        expected: the next number, once numbers are trusted; before, one that no event has.
        held: what came too early, by number; ``None`` where it was passed on already.
        recent: what was passed on last, by the last digits of its number, to know a repetition by.
    """

    __slots__ = ("_last", "expected", "held", "recent")

    def __init__(self) -> None:
        self.expected = -1
        self._last: int | None = None
        self.held: dict[int, ServerEvent | None] = {}
        self.recent: list[ServerEvent | None] = [None] * (RECENT + 1)

    def admit(self, number: object, event: ServerEvent) -> list[ServerEvent]:
        """What may be passed on now that this event has come, in order."""
        if not isinstance(number, int):
            return [event]
        if self.expected == _NEVER:
            return [event]
        if self.expected < 0:
            return self._not_trusted(number, event)
        if isinstance(event, _APART):
            return self._beside(number, event)
        if number < self.expected:
            return self._again(number, event)
        self.held[number] = event
        return self._released() if len(self.held) <= MAX_HELD else self.flush()

    def _again(self, number: int, event: ServerEvent) -> list[ServerEvent]:
        """A number that was there before: a repetition, or a server that counts anew within a response."""
        if event.type in TERMINAL:
            return [event]  # whoever has heard of the end does not listen any more
        earlier = self.recent[number & RECENT]
        if earlier is not None and earlier.raw == event.raw:
            return []
        waiting = self.flush()
        self.expected = _NEVER
        return [*waiting, event]

    def _not_trusted(self, number: int, event: ServerEvent) -> list[ServerEvent]:
        if number == self._last and isinstance(event, BEFORE_OUTPUT):
            return []  # of these there is one of a kind
        if number - 1 == self._last:
            self.expected = number + 1
        self._last = number
        self.recent[number & RECENT] = event
        return [event]

    def _beside(self, number: int, event: ServerEvent) -> list[ServerEvent]:
        """It waits for nothing and is never dropped. Where it counts with the others, it uses up a number."""
        if number < self.expected:
            return [event]
        self.held[number] = None
        return [event, *self._released()]

    def flush(self) -> list[ServerEvent]:
        """Everything that waits, in order: what is missing will not come."""
        if not self.held:
            return []
        numbers = sorted(self.held)
        for number in numbers:
            self.recent[number & RECENT] = self.held[number]
        events = [event for number in numbers if (event := self.held[number]) is not None]
        self.held.clear()
        self.expected = numbers[-1] + 1
        return events

    def _released(self) -> list[ServerEvent]:
        events = []
        while self.expected in self.held:
            event = self.held.pop(self.expected)
            self.recent[self.expected & RECENT] = event
            self.expected += 1
            if event is not None:
                events.append(event)
        return events
