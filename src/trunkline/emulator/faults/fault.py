"""Faults, the place where each may strike, and the record of one that has struck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._protocol.events import Event
from .action import Action


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fault may strike. Numbers count from 1."""

    connection: int | None = None
    connection_id: str | None = None
    request: int | None = None
    lane: str | None = None
    model: str | None = None
    transport: str = "websocket"
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Every condition that is given has to hold; numbers count from 1."""

    action: Action | str
    connection: int | None = None
    """On the n-th connection (upgrades are counted, refused ones too)."""
    request: int | None = None
    """At the n-th request for a response, over all connections."""
    event: int | None = None
    """At the n-th event of a response."""
    event_type: str | None = None
    """At events of this type."""
    lane: str | None = None
    model: str | None = None
    transport: str | None = None
    probability: float = 1.0
    """How likely it strikes where it could; decided by the seed of `Faults`."""
    times: int | None = 1
    """How often it strikes at most; None is without limit."""
    status: int = 503
    code: str | None = None
    message: str = "The emulator was told to fail."
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    seconds: float | None = None
    close_code: int = 1011
    size_bytes: int = 1024 * 1024
    fields: tuple[str, ...] = ("sequence_number",)

    def __post_init__(self) -> None:
        # The name of an action will do, as in a file.
        object.__setattr__(self, "action", Action(self.action))

    def holds_at(self, place: Place) -> bool:
        """Whether the conditions on connection and request hold."""
        for name in ("connection", "request", "lane", "model", "transport"):
            wanted = getattr(self, name)
            if wanted is not None and wanted != getattr(place, name):
                return False
        return True

    def holds_for(self, event: Event, number: int) -> bool:
        """Whether the conditions on the event hold."""
        return self.event in (None, number) and self.event_type in (None, event.type)


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has struck."""

    fault: Fault
    place: Place
    event_type: str | None = None
    event_number: int | None = None

    @property
    def action(self) -> Action:
        """What it did."""
        return Action(self.fault.action)
