"""The order of one response's events, by their ``sequence_number``.

Numbers count within a response. Some servers leave them out, or send the same one always: they are trusted
once two in a row have counted. From then on a number that was seen before is a repetition, and is dropped;
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
_APART = (ErrorEvent, SteerAccepted, SteerFailed, SteerPending)
"""Answers to requests more than parts of a response: they may have numbers of their own."""


class Sequence:
    """Puts events in order.

    Attributes:
        expected: the next number, once numbers are trusted; before, one that no event has.
        held: what came too early, by number; ``None`` where it was passed on already.
    """

    __slots__ = ("_last", "expected", "held")

    def __init__(self) -> None:
        self.expected = -1
        self._last: int | None = None
        self.held: dict[int, ServerEvent | None] = {}

    def admit(self, number: object, event: ServerEvent) -> list[ServerEvent]:
        """What may be passed on now that this event has come, in order."""
        if not isinstance(number, int):
            return [event]
        if self.expected < 0:
            return self._not_trusted(number, event)
        if isinstance(event, _APART):
            return self._beside(number, event)
        if number < self.expected:
            # Whoever waits for the end must hear of it; who has heard of it does not listen any more.
            return [event] if event.type in TERMINAL else []
        self.held[number] = event
        return self._released() if len(self.held) <= MAX_HELD else self.flush()

    def _not_trusted(self, number: int, event: ServerEvent) -> list[ServerEvent]:
        if number == self._last and isinstance(event, BEFORE_OUTPUT):
            return []  # of these there is one of a kind
        if number - 1 == self._last:
            self.expected = number + 1
        self._last = number
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
        events = [self.held[number] for number in numbers]
        self.held.clear()
        self.expected = numbers[-1] + 1
        return [event for event in events if event is not None]

    def _released(self) -> list[ServerEvent]:
        events = []
        while self.expected in self.held:
            events.append(self.held.pop(self.expected))
            self.expected += 1
        return [event for event in events if event is not None]
