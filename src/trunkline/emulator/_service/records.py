"""What the emulator remembers for those who test against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._models.context import Context, Item


@dataclass(slots=True, eq=False)
class ResponseRecord:
    """A response, from its start on."""

    id: str
    model: str
    transport: str
    """``"websocket"`` or ``"http"``."""
    connection_id: str | None
    lane: str | None
    """The ``stream_id``, or None for the default lane and for HTTP."""
    previous_response_id: str | None
    generate: bool
    store: bool
    """Whether the response is really kept: false under zero data retention, whatever was asked for."""
    input: list[Item]
    """The items that came in this request; a string is already a user message."""
    instructions: str | None
    tools: list[dict[str, Any]]
    request_bytes: int
    context: Context = field(repr=False)
    """The chain behind `effective_context`."""
    resource: dict[str, Any] = field(repr=False)
    """The response resource as sent last."""
    status: str = "in_progress"
    output: list[Item] = field(default_factory=list)
    successor_of: str | None = None
    """The response that was steered into this one."""
    steerable: bool = True
    """Whether the way it is made allows for steering; the model has to, as well."""

    @property
    def after(self) -> Context:
        """What a continuation of this response begins with: all of it, or what compaction has left."""
        for index, item in enumerate(self.output):
            if item["type"] == "compaction":
                return Context(None, tuple(self.output[index:]))
        return self.context.extended(self.output)

    @property
    def effective_context(self) -> list[Item]:
        """All items that the model saw when it made this response."""
        return self.context.items()


@dataclass(slots=True, eq=False)
class RequestRecord:
    """A frame or HTTP request, whether it was accepted or refused."""

    kind: str
    """``response.create``, ``response.steer``, ``response.retrieve``, …; ``invalid`` when it was not JSON."""
    body: dict[str, Any] | None
    size_bytes: int
    transport: str
    connection_id: str | None = None
    lane: str | None = None
    error: dict[str, Any] | None = None
    """The refusal, ``{"status", "message", "type", "param", "code"}``, or None.

    The error of a refused steer has only ``code`` and ``message``; the message may be None.
    """
    response_id: str | None = None


@dataclass(slots=True, eq=False)
class ConnectionRecord:
    """A socket, open or closed."""

    id: str
    number: int
    """Upgrades are counted from 1, refused ones too."""
    headers: Mapping[str, str]
    query: Mapping[str, str]
    opened_at: float
    """On the emulator's clock, in seconds."""
    open: bool = True
    peak_in_flight: int = 0
    """The most responses that ran at one time."""
    lane_names: list[str] = field(default_factory=list)
    """Distinct named lanes, in order of first use."""
    close_code: int | None = None
