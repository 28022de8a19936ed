"""What playing a response is made of: events to send, pauses to make, and, under faults, breaking off."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .._protocol.events import Event


class Pause(Enum):
    """A pause whose length is the pace's affair."""

    FIRST_OUTPUT = "first output"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause of so many seconds; None is for ever."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection: with a close code, or without a word; `reset` throws away what is under way."""

    code: int | None = None
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """A message that is no whole event any more, to be sent as it is."""

    data: bytes
    fragments: int = 1
    """In how many WebSocket frames it goes."""


Move = Event | Pause | Wait | HangUp | Raw
