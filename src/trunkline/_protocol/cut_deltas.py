"""Deltas that a server cut between the two halves of a surrogate pair.

`decoding` makes a `CutDelta` of such a frame, `CutDeltas` puts the halves together: a delta that ends with
a half waits for the next one. Only frames that msgspec refuses can be cut, so that other deltas cost nothing.
"""

from __future__ import annotations

import json
from typing import Final

from msgspec.structs import replace

from ..surrogates import begins_with_a_half, ends_with_a_half, mended
from .events import AnyDelta, Delta, EventKind, OutputTextDelta, ReceivedEvent
from .quiet import QuietBytes

_APART: Final = frozenset(
    {
        EventKind.CREATED,
        EventKind.QUEUED,
        EventKind.IN_PROGRESS,
        EventKind.OTHER,
        EventKind.STEER,
    }
)


class CutFrame(QuietBytes):
    """The frame of a delta as received. The text of the event differs from the one in the frame."""


class CutDelta(OutputTextDelta, kw_only=True, frozen=True):
    """A delta of any kind whose text begins or ends with half of a pair. Never passed to a caller.

    Attributes:
        event: the event that a caller gets, but for its text.
        text: the text with its halves.
    """

    event: AnyDelta
    text: str

    @property
    def wire_type(self) -> str:
        """The type that the server sent."""
        return self.event.wire_type

    def reading(self, text: str) -> AnyDelta:
        """The event that a caller gets, with this text."""
        return replace(self.event, delta=mended(text), raw=CutFrame(self.raw))

    def continues(self, earlier: CutDelta) -> bool:
        """Whether it begins with the half that is missing at the end of an earlier delta."""
        return (
            begins_with_a_half(self.text)
            and type(self.event) is type(earlier.event)
            and self.event.part == earlier.event.part
        )


def cut_or_whole(event: AnyDelta) -> AnyDelta:
    """A `CutDelta` for a delta that begins or ends with a half, in a frame with half surrogates."""
    text = json.loads(event.raw)["delta"]
    if not (begins_with_a_half(text) or ends_with_a_half(text)):
        return event
    return CutDelta(
        stream_id=event.stream_id,
        sequence_number=event.sequence_number,
        raw=event.raw,
        delta=event.delta,
        event=event,
        text=text,
    )


class CutDeltas:
    """The halves of one response.

    Attributes:
        waiting: a delta that ends with a half, until the next event with output.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: CutDelta | None = None

    def admit(self, event: ReceivedEvent) -> list[ReceivedEvent]:
        """The events that may pass now that this one has arrived, in order."""
        waiting = self.waiting
        if waiting is None:
            return self._hold(event) if isinstance(event, CutDelta) else [event]
        if _is_apart(event, waiting):
            return [event]
        if not (isinstance(event, CutDelta) and event.continues(waiting)):
            return [*self.release(), *self.admit(event)]
        self.waiting = None
        joined = waiting.reading(waiting.text + event.text[0])
        return [joined, *self._hold(replace(event, text=event.text[1:]))]

    def joined(self, events: list[ReceivedEvent]) -> list[ReceivedEvent]:
        """The same for several events."""
        return [each for event in events for each in self.admit(event)]

    def release(self) -> list[ReceivedEvent]:
        """The delta that waits, because nothing follows it."""
        waiting, self.waiting = self.waiting, None
        return [waiting.reading(waiting.text)] if waiting is not None else []

    def _hold(self, event: CutDelta) -> list[ReceivedEvent]:
        if not ends_with_a_half(event.text):
            return [event.reading(event.text)]
        self.waiting = event
        return []


def _is_apart(event: ReceivedEvent, waiting: CutDelta) -> bool:
    """Whether an event between two halves has nothing to do with them."""
    if isinstance(event, Delta):
        return not event.delta
    if event.kind is not EventKind.OUTPUT:
        return event.kind in _APART
    if not event.wire_type.endswith(".done"):
        return True
    pairs = zip(_place(waiting), _place(event), strict=True)
    return any(mine != its for mine, its in pairs if mine is not None and its is not None)


def _place(event: ReceivedEvent) -> tuple[object, ...]:
    """The item and the part that an event is about, as far as it tells."""
    try:
        whole = event.json()
    except (ValueError, RecursionError):  # a field that is not declared, with a number out of range
        return (None, None, None)
    item = whole.get("item")
    name = whole.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
    return (name, whole.get("output_index"), whole.get("content_index"))
