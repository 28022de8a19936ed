"""Order of the events of one response, by ``sequence_number``.

Numbers count within a response. Some servers leave them out, or send a constant one. The numbers pass through
three states::

    UNPROVEN ──two numbers in a row──▶ TRUSTED ──old number, other content──▶ IGNORED

- UNPROVEN: events pass as they come, except that the first early event waits for the one after it: if that
  fills the gap, the two changed places and the numbers count. If not, the numbers rise in steps, and an
  identical repetition is dropped. A first event that usually follows ``response.created`` is early, unless
  its number is 0. An identical life-cycle event is dropped in any case.
- TRUSTED: an identical repetition is dropped. An event that comes early waits for those before it, but for at
  most `MAX_HELD` events: late text is worse than a gap. An event without a number passes as it comes. It may
  have used a number: the first event after a gap of that size waits for one further event, which either fills
  the gap or shows that nothing else will.
- IGNORED: the server restarts its count within the response. Events pass as they come.
"""

from __future__ import annotations

from array import array
from enum import Enum, auto
from typing import Final

from .events import Delta, EventKind, OutputItemAdded, ReceivedEvent

MAX_HELD = 32
RECENT = 15
"""How many passed events are recognised when they are repeated, less one: a bit mask."""

_HASH: Final = "l" if array("l").itemsize == 8 else "q"
"""The type code for hashes: storing into "q" takes ten times as long."""

_NONE = -(2**62)
"""A number that no event has."""


class Numbers(Enum):
    """What the sequence numbers of a response are good for."""

    UNPROVEN = auto()
    TRUSTED = auto()
    IGNORED = auto()


# Bound once: looking up a member of an enumeration costs more than comparing it.
_TRUSTED: Final = Numbers.TRUSTED
_UNPROVEN: Final = Numbers.UNPROVEN
_SECOND: Final = frozenset({EventKind.QUEUED, EventKind.IN_PROGRESS})


def _is_second(event: ReceivedEvent) -> bool:
    """Whether ``response.created`` usually precedes the event directly."""
    return event.kind in _SECOND or type(event) is OutputItemAdded


def _has_no_place(event: ReceivedEvent) -> bool:
    """Whether an event without a number may pass before others or after them."""
    return event.kind is EventKind.OTHER or (isinstance(event, Delta) and not event.delta)


class Ordering:
    """Puts the events of one response in order.

    Attributes:
        numbers: the state of the numbers.
        held: events that came early, by number; ``None`` where the event has passed already.
        expected_now: the number of the event that may pass at once; a number that no event has while events
            are held, or the numbers are not trusted. Who passes the event adds one, and puts the hash of its
            frame into `recent`: `follows`, and the shortcut of `Inbox.deliver_delta`.
        recent: hashes of the frames that passed last, by the last digits of their numbers. Keeping the events
            themselves would cost kilobytes for each answer, and cache misses when they are freed.
    """

    __slots__ = (
        "_expected",
        "_may_wait",
        "_next",
        "_unnumbered",
        "expected_now",
        "held",
        "numbers",
        "recent",
    )

    def __init__(self) -> None:
        self.numbers: Numbers = _UNPROVEN
        self.held: dict[int, ReceivedEvent | None] = {}
        self._expected = 0
        # The events without a number since the last one in order. The missing numbers may be theirs.
        self._unnumbered = 0
        # While the numbers are unproven: the one after the highest so far, and whether an early event waits.
        self._next: int | None = None
        self._may_wait = True
        self.recent: array[int] = array(_HASH, [0]) * (RECENT + 1)
        self.expected_now: int = _NONE

    def follows(self, event: ReceivedEvent) -> bool:
        """Whether the event is the next one and nothing waits; if so, it counts as passed.

        This is the part of `admit` that nearly every event needs. See
        docs/design/0006-shortcut-for-text-deltas.md.
        """
        number = self.expected_now
        if event.sequence_number != number:
            return False
        self.expected_now = number + 1
        self.recent[number & RECENT] = hash(event.raw)
        return True

    def admit(self, event: ReceivedEvent) -> list[ReceivedEvent]:
        """The events that may pass now that this one has arrived, in order."""
        if self.expected_now != _NONE:
            self.close_shortcut()
        passed = self._admit(event)
        self._offer_shortcut()
        return passed

    def flush(self) -> list[ReceivedEvent]:
        """All held events, in order, without those that are missing: the response has ended."""
        passed = self._release_all()
        self._offer_shortcut()
        return passed

    def restart(self) -> None:
        """Restart: the successor of a steered response counts from its own start."""
        self.numbers = _UNPROVEN
        self.held.clear()
        self._next = None
        self._may_wait = True
        self._unnumbered = 0
        self.expected_now = _NONE

    def close_shortcut(self) -> None:
        """Let no event pass without `admit`, until the next one was admitted."""
        if self.expected_now not in (_NONE, self._expected):  # events passed by the shortcut
            self._expected = self.expected_now
            self._unnumbered = 0
        self.expected_now = _NONE

    def _offer_shortcut(self) -> None:
        is_open = self.numbers is _TRUSTED and not self.held
        self.expected_now = self._expected if is_open else _NONE

    def _admit(self, event: ReceivedEvent) -> list[ReceivedEvent]:
        number = event.sequence_number
        if self.numbers is _UNPROVEN:
            return self._prove(number, event)
        if self.numbers is Numbers.IGNORED:
            return [event]
        if event.kind in (EventKind.ERROR, EventKind.STEER):
            # These answer requests of ours and may count apart, so they wait for nothing and are never
            # dropped. If they do count with the others, they use up a number.
            if not isinstance(number, int) or number < self._expected:
                return [event]
            self.held[number] = None
            return [event, *self._release()]
        if not isinstance(number, int):
            passed = self._pass_unnumbered(event)
            self._unnumbered += 1
            return passed
        if number < self._expected:
            return self._repeated(number, event)
        if number in self.held:
            return self._repeated_early(number, event)
        if number == self._expected:
            self._unnumbered = 0
        elif self.held and (first := min(self.held)) - self._expected <= self._unnumbered and number > first:
            self._expected = first  # the events without a number used those that are missing
            self._unnumbered = 0
        self.held[number] = event
        return self._release() if len(self.held) <= MAX_HELD else self._release_all()

    def _prove(self, number: object, event: ReceivedEvent) -> list[ReceivedEvent]:
        # 1. These answer requests of ours and may count apart: they prove nothing and wait for nothing.
        if event.kind is EventKind.ERROR or event.kind is EventKind.STEER:
            return [event]
        # 2. The event before left a gap, and this one fills it: they changed places, so the numbers count.
        if self.held and isinstance(number, int) and self._fills_gap(number):
            self.numbers = _TRUSTED
            self._expected = number
            self._unnumbered = 0
            self.held[number] = event
            return self._release()
        if isinstance(number, int) and number in self.held:
            return self._repeated_early(number, event)
        passed: list[ReceivedEvent] = []
        if self.held and (isinstance(number, int) or not _has_no_place(event)):
            # 3. It does not fill it: events without a number used the missing ones, or else the numbers have
            # gaps of their own, and no event waits for that again.
            assert self._next is not None
            self._may_wait = min(self.held) - self._next <= self._unnumbered
            passed = self._release_all()
            self._next = self._expected
            self._unnumbered = 0
        if not isinstance(number, int):
            self._unnumbered += 1
            return [*passed, event]
        following = self._next
        if following is None:
            # 4. A response does not begin with this event: the one after it may be the beginning. Deltas do
            # not wait: equal ones with a constant number are not repetitions.
            if number > 0 and _is_second(event):
                self._next = number - 1
                self._unnumbered = 1  # a response without its creation has no gap here
                self.held[number] = event
                return passed
        else:
            # 5. Numbers that rise tell a repetition; constant ones do not. A beginning is never sent anew.
            if (
                number < following
                and (not self._may_wait or event.kind.is_beginning)
                and self.recent[number & RECENT] == hash(event.raw)
            ):
                return passed
            # 6. A gap: the event after this one tells whether this one is early.
            if number > following and self._may_wait and not event.kind.is_terminal:
                self.held[number] = event
                return passed
            if number == following:
                self.numbers = _TRUSTED
                self._expected = number + 1
        self._next = number + 1 if following is None else max(following, number + 1)
        self._unnumbered = 0
        self.recent[number & RECENT] = hash(event.raw)
        return [*passed, event]

    def _fills_gap(self, number: int) -> bool:
        """Whether an event precedes the one that waits, after those without a number."""
        assert self._next is not None
        return 0 <= number - self._next <= self._unnumbered and number < min(self.held)

    def _pass_unnumbered(self, event: ReceivedEvent) -> list[ReceivedEvent]:
        """Output arrived after the events that wait; the place of other events does not matter."""
        return [event] if _has_no_place(event) else [*self._release_all(), event]

    def _repeated_early(self, number: int, event: ReceivedEvent) -> list[ReceivedEvent]:
        """The number of an event that waits, or of an answer to a request of ours, which may count apart."""
        waiting = self.held[number]
        if waiting is None:
            self.held[number] = event
            return self._release()
        return [] if waiting.raw == event.raw else self._distrust(event)

    def _repeated(self, number: int, event: ReceivedEvent) -> list[ReceivedEvent]:
        """An old number: a repetition, or a server that counts anew within the response."""
        if event.kind.is_terminal or event.kind is EventKind.INVALID:
            return [event]  # reception ignores what follows an end
        if self.recent[number & RECENT] == hash(event.raw):
            return []
        return self._distrust(event)

    def _distrust(self, event: ReceivedEvent) -> list[ReceivedEvent]:
        self.numbers = Numbers.IGNORED
        return [*self._release_all(), event]

    def _release(self) -> list[ReceivedEvent]:
        """The held events that are no longer early."""
        passed = []
        while self._expected in self.held:
            event = self._pop(self._expected)
            self._expected += 1
            if event is not None:
                passed.append(event)
        return passed

    def _release_all(self) -> list[ReceivedEvent]:
        if not self.held:
            return []
        numbers = sorted(self.held)
        passed = [event for number in numbers if (event := self._pop(number)) is not None]
        self._expected = numbers[-1] + 1
        return passed

    def _pop(self, number: int) -> ReceivedEvent | None:
        event = self.held.pop(number)
        self.recent[number & RECENT] = hash(event.raw) if event is not None else 0
        return event
