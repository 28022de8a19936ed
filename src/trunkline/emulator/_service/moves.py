"""Moves, the units of a played response: events, pauses, and the effects of faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .._protocol.events import Event
from ..gate import Gate


class Pause(Enum):
    """A pause whose length the pace determines."""

    FIRST_OUTPUT = "first output"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause of `seconds`, or until `gate` opens; without either it never ends."""

    seconds: float | None
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection with a close code, or without a close frame; `reset` sends a TCP reset."""

    code: int | None = None
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """A message that is not a whole event, sent unchanged."""

    data: bytes = field(repr=False)
    fragments: int = 1
    """Number of WebSocket frames."""


Move = Event | Pause | Wait | HangUp | Raw
