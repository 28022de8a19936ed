"""Faults, the requests that they are matched against, and records of applied faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._protocol.events import Event
from ..gate import Gate
from .action import Action
from .one_place import PLACES, TextPlace


@dataclass(frozen=True, slots=True)
class Place:
    """The connection and request that a fault is matched against. Numbers count from 1."""

    connection: int | None = None
    connection_id: str | None = None
    request: int | None = None
    lane: str | None = None
    model: str | None = None
    transport: str = "websocket"
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: an action, its conditions and its parameters.

    All given conditions must hold. Numbers count from 1.
    """

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
    """Probability that a match is applied; drawn with the seed of `Faults`."""
    times: int | None = 1
    """Maximum number of applications; None: unlimited."""
    status: int = 503
    code: str | None = None
    message: str = field(default="The emulator was told to fail.", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)
    seconds: float | None = None
    gate: Gate | None = None
    """Ends a `stall` when it opens; see `Faults.hold`."""
    close_code: int = 1011
    size_bytes: int = 1024 * 1024
    fields: tuple[str, ...] = ("sequence_number",)
    place: TextPlace = "deltas"
    """Of `one_place`: ``deltas``, ``done`` or ``final``."""

    def __post_init__(self) -> None:
        # Accept an action's name, as fault files use it.
        object.__setattr__(self, "action", Action(self.action))
        if self.place not in PLACES:
            raise ValueError(f"a fault's place is one of {', '.join(PLACES)}, not {self.place!r}")

    def holds_at(self, place: Place) -> bool:
        """Whether the conditions on the connection and the request hold."""
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
    """Record of an applied fault."""

    fault: Fault
    place: Place
    event_type: str | None = None
    event_number: int | None = None

    @property
    def action(self) -> Action:
        """The action of the fault."""
        return Action(self.fault.action)
