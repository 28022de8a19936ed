"""Steers of one attempt: the user messages added to a running response, and their outcomes.

The service accepts a steer or hands its input back. The input of an accepted steer becomes part of a
successor response, which begins on the same lane without a request. If tool outputs are owed first, the input
waits for the next request instead::

            ┌──▶ REFUSED
    OPEN ───┤
            └──▶ ACCEPTED ──▶ USED       the successor has begun
                          ├─▶ WAITING    tool outputs are owed first
                          └─▶ RETURNED   handed back after it had been accepted

Steers without an id are answered in the order in which they were sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from ..errors import ConfigurationError, UsageError
from .events import (
    ErrorBody,
    ResponseCompleted,
    ResponseIncomplete,
    SteerAccepted,
    SteerEvent,
    SteerFailed,
    SteerPending,
)
from .events import Steer as SteerOnWire
from .items import Item, TurnInput, items_of
from .json import encode

ACKNOWLEDGED_WITHIN_S: Final = 10.0
"""The time in which a service accepts or refuses a steer; longer than any that knows steers has needed."""
NOT_ACKNOWLEDGED: Final = "not_acknowledged"
"""The code of a steer that the server ignored."""


class SteerState(Enum):
    """The outcome of a steer so far."""

    OPEN = auto()
    REFUSED = auto()
    ACCEPTED = auto()
    USED = auto()
    WAITING = auto()
    RETURNED = auto()


@dataclass(slots=True, eq=False, repr=False)
class Steer:
    """One steer.

    Attributes:
        given: the input as the caller gave it.
        items: the input as items.
        state: its outcome so far.
        id: the id that the service gave it.
        code: REFUSED: the error code of the service.
    """

    given: Any
    items: list[Item]
    state: SteerState = SteerState.OPEN
    id: str | None = None
    code: str | None = None

    def __repr__(self) -> str:
        return f"<Steer {self.state.name}>"


@dataclass(frozen=True, slots=True)
class Segment:
    """A response that was steered, and the items of the steers that became part of its successor."""

    response: ResponseCompleted | ResponseIncomplete
    said: list[Item]


@dataclass(slots=True, repr=False)
class Steers:
    """All steers of one attempt, in the order in which they were sent.

    Attributes:
        all: the steers.
        segments: the steered responses, oldest first.
    """

    all: tuple[Steer, ...] = ()
    segments: tuple[Segment, ...] = ()

    def __repr__(self) -> str:
        return f"<Steers: {len(self.all)} sent>"

    @property
    def waiting(self) -> list[Item]:
        """Accepted items that the service adds to the next request on the lane."""
        return self._items(SteerState.WAITING)

    @property
    def returned(self) -> list[Any]:
        """Inputs that were handed back after they had been accepted, as the caller gave them."""
        return [steer.given for steer in self.all if steer.state is SteerState.RETURNED]

    @property
    def are_accepted(self) -> bool:
        """Whether a successor is owed for an accepted steer."""
        return any(steer.state is SteerState.ACCEPTED for steer in self.all)

    @property
    def are_uncertain(self) -> bool:
        """Whether a successor may hold a steer that was given up: its context is not known."""
        return bool(self.segments) and any(steer.code == NOT_ACKNOWLEDGED for steer in self.all)

    def said_after(self, segments: int) -> list[Item]:
        """Accepted items that are not part of the first ``segments`` segments."""
        later = [item for segment in self.segments[segments:] for item in segment.said]
        return later + self._items(SteerState.ACCEPTED) + self.waiting

    def add(self, given: TurnInput, items: list[Item]) -> Steer:
        """Record a steer that is about to be sent."""
        assert self is not NO_STEERS
        steer = Steer(given, items)
        self.all = (*self.all, steer)
        return steer

    def resolve(self, event: SteerAccepted | SteerFailed | SteerPending) -> None:
        """Record the outcome that an event reports."""
        steer = self._meant_by(event)
        if steer is None:
            return
        if isinstance(event, SteerAccepted):
            steer.state = SteerState.ACCEPTED
        elif isinstance(event, SteerPending):
            steer.state = SteerState.WAITING
        elif steer.state is SteerState.ACCEPTED:
            steer.state = SteerState.RETURNED
        else:
            code = event.error.code if event.error is not None else None
            steer.code = code if isinstance(code, str) else None
            steer.state = SteerState.REFUSED

    def succeed(self, ended: ResponseCompleted | ResponseIncomplete) -> None:
        """The successor of ``ended`` begins; every accepted steer is part of it."""
        assert self is not NO_STEERS
        self.segments = (*self.segments, Segment(ended, self._items(SteerState.ACCEPTED)))
        for steer in self.all:
            if steer.state is SteerState.ACCEPTED:
                steer.state = SteerState.USED

    def _meant_by(self, event: SteerEvent) -> Steer | None:
        accepted = (steer for steer in self.all if steer.state is SteerState.ACCEPTED)
        known = next((steer for steer in accepted if steer.id == event.steer.id), None)
        if known is None:
            known = next((steer for steer in self.all if steer.state is SteerState.OPEN), None)
            if known is not None:
                known.id = event.steer.id
        return known

    def _items(self, state: SteerState) -> list[Item]:
        return [item for steer in self.all if steer.state is state for item in steer.items]


NO_STEERS: Final = Steers()
"""The steers of an attempt into which none was sent. Never changed."""


def steer_failed(stream_id: str | None, code: str | None, message: str) -> SteerFailed:
    """The event of a refused steer, for servers that do not send it."""
    fields: dict[str, Any] = {"type": SteerFailed.type, "error": {"code": code, "message": message}}
    if stream_id is not None:
        fields["stream_id"] = stream_id
    error = ErrorBody(code=code, message=message)
    return SteerFailed(steer=SteerOnWire(), error=error, stream_id=stream_id, raw=encode(fields))


def no_running_response() -> UsageError:
    """The exception for a steer before the first or after the last event of a response."""
    return UsageError(
        "no response is running; call steer() between the first and the last event of the stream"
    )


def steer_items(given: TurnInput) -> list[Item]:
    """The items of a steer.

    Raises:
        ConfigurationError: the input holds something other than user messages.
    """
    items = items_of(given, "input")
    if not items:
        raise ConfigurationError(
            "the input of steer() is empty; give a string or user messages", argument="input"
        )
    for index, item in enumerate(items):
        if not item.is_user_message:
            raise ConfigurationError(
                f"input[{index}] of steer() is not a user message (type {item.kind!r}); "
                "give a string or user messages",
                argument="input",
            )
    return items
