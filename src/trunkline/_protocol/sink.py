"""Receiver of the events of one request, as lanes and exchanges see it."""

from __future__ import annotations

from typing import Protocol

from .events import ReceivedEvent
from .failure import Failure


class Sink(Protocol):
    """Receives the events of one request. Its methods do not raise."""

    @property
    def is_over(self) -> bool:
        """Whether the sink takes no further events."""

    def deliver(self, event: ReceivedEvent) -> None:
        """Take one event."""

    def deliver_delta(self, event: ReceivedEvent) -> None:
        """Take one delta of a response that has begun. Equivalent to `deliver`, and faster."""

    def on_keep_alive(self) -> None:
        """The server showed that it is alive, without an event."""

    def fail(self, failure: Failure) -> None:
        """The exchange ended without a response."""
