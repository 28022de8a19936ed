"""Records of responses, requests and connections, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._models.context import Context, Item


@dataclass(slots=True, eq=False)
class ResponseRecord:
    """A response, running or ended."""

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
    """Whether the response is stored: always false under zero data retention."""
    input: list[Item] = field(repr=False)
    """The items of this request; a string is converted to a user message."""
    instructions: str | None = field(repr=False)
    tools: list[dict[str, Any]] = field(repr=False)
    request_bytes: int
    context: Context = field(repr=False)
    """The chain behind `effective_context`."""
    resource: dict[str, Any] = field(repr=False)
    """The response resource, as last sent."""
    status: str = "in_progress"
    output: list[Item] = field(default_factory=list, repr=False)
    successor_of: str | None = None
    """Id of the steered response that this one succeeds."""
    steerable: bool = True
    """Whether the request's settings allow steering; the model must support it too."""

    @property
    def wire_id(self) -> str:
        """The id that the client sees; it differs from `id` under quirks that repeat ids."""
        return str(self.resource["id"])

    @property
    def after(self) -> Context:
        """The context of a continuation: the whole context and output, or the output from a compaction on."""
        for index, item in enumerate(self.output):
            if item["type"] == "compaction":
                return Context(None, tuple(self.output[index:]))
        return self.context.extended(self.output)

    @property
    def dropped_reasoning(self) -> list[dict[str, Any]]:
        """The ``input_transformations``: reasoning of the context that the model did not see."""
        return self.resource.get("input_transformations") or []

    @property
    def effective_context(self) -> list[Item]:
        """All items in the model's context for this response."""
        return self.context.items()


@dataclass(slots=True, eq=False)
class RequestRecord:
    """A frame or HTTP request, accepted or refused."""

    kind: str
    """``response.create``, ``response.steer``, ``response.retrieve``, …; ``invalid`` if it was not JSON."""
    body: dict[str, Any] | None = field(repr=False)
    size_bytes: int
    transport: str
    connection_id: str | None = None
    lane: str | None = None
    error: dict[str, Any] | None = field(default=None, repr=False)
    """The refusal, ``{"status", "message", "type", "param", "code"}``, or None.

    The error of a refused steer has only ``code`` and ``message``; the message may be None.
    """
    response_id: str | None = None
    organization: str | None = field(default=None, repr=False)
    """The ``OpenAI-Organization`` of the request or of its connection."""
    number: int = 0
    """Number of the request, from 1."""
    received_at: float = 0.0
    """Time of arrival, in seconds since the epoch."""


@dataclass(slots=True, eq=False)
class ConnectionRecord:
    """A socket, open or closed."""

    id: str
    number: int
    """Number of the upgrade request, from 1; refused ones count."""
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    opened_at: float
    """Seconds on the emulator's clock."""
    open: bool = True
    peak_in_flight: int = 0
    """Maximum number of responses that ran at the same time."""
    lane_names: list[str] = field(default_factory=list)
    """Distinct named lanes, in order of first use."""
    close_code: int | None = None
