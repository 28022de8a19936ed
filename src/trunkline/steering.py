"""The steers of one turn: what was said into a running answer, and what became of it.

The service accepts a steer, or hands its input back. An accepted one becomes part of a successor response on
the same lane, which nobody has to ask for; or, when tool outputs are owed first, it waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ._protocol.events import ResponseCompleted, ResponseIncomplete, SteerAccepted, SteerFailed, SteerPending
from .errors import ConfigurationError, SteerRefused, TurnError, UsageError
from .items import Item, TurnInput, items_of
from .plain_json import copy_json, encode


@dataclass(slots=True, eq=False)
class Steer:
    """One steer.

    Attributes:
        given: the input as it was given.
        items: the input as items.
        outcome: done when it was accepted or handed back.
        id: the service's name for it, once accepted.
    """

    given: Any = field(repr=False)
    items: list[Item]
    outcome: asyncio.Future[None]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A response that was steered, and what was said into it."""

    response: ResponseCompleted | ResponseIncomplete
    said: list[Item]


@dataclass(slots=True)
class Steers:
    """The steers of one attempt.

    Attributes:
        segments: the responses before the final one, each with what was said into it.
        returned: inputs that were handed back after they had been accepted.
        waiting: accepted, and waiting for tool outputs: the next request on the lane takes them along.
    """

    segments: list[Segment] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list, repr=False)
    waiting: list[Item] = field(default_factory=list)
    _open: list[Steer] = field(default_factory=list)
    _accepted: list[Steer] = field(default_factory=list)
    sent: int = 0

    def said_after(self, segments: int) -> list[Item]:
        """What was accepted and is not in the first so many segments."""
        later = [item for segment in self.segments[segments:] for item in segment.said]
        return later + [item for steer in self._accepted for item in steer.items] + self.waiting

    def add(self, given: TurnInput, items: list[Item]) -> Steer:
        """One more steer, about to be sent."""
        steer = Steer(given, items, asyncio.get_running_loop().create_future())
        self._open.append(steer)
        self.sent += 1
        return steer

    def resolve(self, event: SteerAccepted | SteerFailed | SteerPending) -> None:
        """Hear what became of one. Those that have no id yet are answered in the order of sending."""
        known = next((steer for steer in self._accepted if steer.id == event.steer.id), None)
        if known is None and self._open:
            known = self._open.pop(0)
            known.id = event.steer.id
            if not isinstance(event, SteerFailed):
                self._accepted.append(known)
                _settle(known.outcome, None)
        if known is None:
            return
        if isinstance(event, SteerPending):
            self._accepted.remove(known)
            self.waiting += known.items
        elif isinstance(event, SteerFailed):
            self._hand_back(known, event)

    def succeed(self, ended: ResponseCompleted | ResponseIncomplete) -> None:
        """A successor begins: it has heard everything that was accepted."""
        said = [item for steer in self._accepted for item in steer.items]
        self._accepted.clear()
        self.segments.append(Segment(ended, said))

    def lose(self, error: TurnError | UsageError) -> None:
        """The attempt broke off, or was left; what became of the steers is not known."""
        for steer in self._open:
            _settle(steer.outcome, error)
        self._open.clear()

    def _hand_back(self, steer: Steer, event: SteerFailed) -> None:
        if steer in self._accepted:
            self._accepted.remove(steer)
            self.returned.append(steer.given)
            return
        code = event.error.code if event.error is not None else None
        _settle(
            steer.outcome,
            SteerRefused(
                f"the service refused the steer ({code or 'no code given'}); send its input as the next turn",
                code=code if isinstance(code, str) else None,
                input=steer.given,
            ),
        )


def _settle(outcome: asyncio.Future[None], error: Exception | None) -> None:
    if outcome.done():
        return
    if outcome.get_loop().is_closed():
        outcome.cancel()
    elif error is None:
        outcome.set_result(None)
    else:
        outcome.set_exception(error)
        outcome.exception()  # whoever steered may have gone; then it is nobody's to retrieve


def steer_items(given: TurnInput) -> list[Item]:
    """The items of a steer.

    Raises:
        ConfigurationError: something else than user messages is given.
    """
    items = items_of(given, "input")
    if not items:
        raise ConfigurationError(
            "the input of steer() is empty; give a string or user messages", argument="input"
        )
    for index, item in enumerate(items):
        if item.kind != "message" or b'"role":"user"' not in item.encoded:
            raise ConfigurationError(
                f"input[{index}] of steer() is not a user message (type {item.kind!r}); "
                "give a string or user messages",
                argument="input",
            )
    return items


def steer_frame(response_id: str, given: TurnInput) -> bytes:
    """A ``response.steer`` frame: exactly three fields."""
    spoken: str | Sequence[Any] = [given] if isinstance(given, dict) else given  # type: ignore[assignment]
    return encode(
        {
            "type": "response.steer",
            "previous_response_id": response_id,
            "input": copy_json(spoken, "input")[0],
        }
    )
