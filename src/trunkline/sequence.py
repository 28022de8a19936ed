"""The order of one response's events, by their ``sequence_number``.

Numbers count within a response. Some servers leave them out, or send the same one always: they are trusted
once two in a row have counted. From then on an event that comes again, to the byte, is dropped; another with
an old number shows that the server counts anew within the response, and numbers mean nothing any more;
one that comes too early waits for those before it, but not for ever: a held text is worse than a gap.
"""

from __future__ import annotations

from array import array

from ._protocol.events import (
    BEFORE_OUTPUT,
    TERMINAL,
    ErrorEvent,
    ReceivedEvent,
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
        next: the number that may be passed on at once; one that no event has while numbers are not trusted,
            or something waits. Whoever passes it on counts it up, and keeps the frame's hash in `recent`.
        held: what came too early, by number; ``None`` where it was passed on already.
        recent: hashes of the frames that were passed on last, by the last digits of their numbers, to know a
            repetition by. The events themselves would take up kilobytes for each answer, and freeing one that
            is in no cache of the processor any more is slow.
    """

    __slots__ = ("_expected", "_last", "held", "next", "recent")

    def __init__(self) -> None:
        self.next = self._expected = -1
        self._last: int | None = None
        self.held: dict[int, ReceivedEvent | None] = {}
        self.recent = array("q", [0]) * (RECENT + 1)

    def admit(self, number: object, event: ReceivedEvent) -> list[ReceivedEvent]:
        """What may be passed on now that this event has come, in order."""
        if self.next >= 0:
            self._expected = self.next
        ready = self._admit(number, event)
        self.next = self._expected if not self.held else -1
        return ready

    def flush(self) -> list[ReceivedEvent]:
        """Everything that waits, in order: what is missing will not come."""
        ready = self._flush()
        if ready:
            self.next = self._expected
        return ready

    def _admit(self, number: object, event: ReceivedEvent) -> list[ReceivedEvent]:
        if not isinstance(number, int):
            return [event]
        if self._expected == _NEVER:
            return [event]
        if self._expected < 0:
            return self._not_trusted(number, event)
        if isinstance(event, _APART):
            return self._beside(number, event)
        if number < self._expected:
            return self._again(number, event)
        self.held[number] = event
        return self._released() if len(self.held) <= MAX_HELD else self._flush()

    def _again(self, number: int, event: ReceivedEvent) -> list[ReceivedEvent]:
        """A number that was there before: a repetition, or a server that counts anew within a response."""
        if event.wire_type in TERMINAL:
            return [event]  # whoever has heard of the end does not listen any more
        if self.recent[number & RECENT] == hash(event.raw):
            return []
        waiting = self._flush()
        self._expected = _NEVER
        return [*waiting, event]

    def _not_trusted(self, number: int, event: ReceivedEvent) -> list[ReceivedEvent]:
        if number == self._last and isinstance(event, BEFORE_OUTPUT):
            return []  # of these there is one of a kind
        if number - 1 == self._last:
            self._expected = number + 1
        self._last = number
        self.recent[number & RECENT] = hash(event.raw)
        return [event]

    def _beside(self, number: int, event: ReceivedEvent) -> list[ReceivedEvent]:
        """It waits for nothing and is never dropped. Where it counts with the others, it uses up a number."""
        if number < self._expected:
            return [event]
        self.held[number] = None
        return [event, *self._released()]

    def _flush(self) -> list[ReceivedEvent]:
        if not self.held:
            return []
        numbers = sorted(self.held)
        events = [event for number in numbers if (event := self._passed_on(number)) is not None]
        self._expected = numbers[-1] + 1
        return events

    def _released(self) -> list[ReceivedEvent]:
        events = []
        while self._expected in self.held:
            event = self._passed_on(self._expected)
            self._expected += 1
            if event is not None:
                events.append(event)
        return events

    def _passed_on(self, number: int) -> ReceivedEvent | None:
        event = self.held.pop(number)
        self.recent[number & RECENT] = hash(event.raw) if event is not None else 0
        return event
