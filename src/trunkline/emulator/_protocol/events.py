"""Server events as encoded JSON, with sequence number and lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from .errors import ApiError

_encode = msgspec.json.Encoder().encode


EVENT_TYPES = frozenset(
    (
        "error",
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.failed",
        "response.incomplete",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.refusal.delta",
        "response.refusal.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.compaction.compacting",
        "response.queued",
        "response.steer.accepted",
        "response.steer.pending",
        "response.steer.failed",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.code_interpreter_call.in_progress",
        "response.code_interpreter_call_code.delta",
        "response.code_interpreter_call_code.done",
        "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call.completed",
    )
)
"""All event types that can be sent; a test checks each against the types of the openai package."""


class Event(NamedTuple):
    """One encoded event."""

    type: str
    data: bytes

    def __repr__(self) -> str:
        return f"<Event {self.type}>"


class EventWriter:
    """Builds the events of one response.

    On a named lane each event has a ``stream_id``; on the default lane none has.
    """

    __slots__ = ("_sequence", "_tail")

    def __init__(self, lane: str | None) -> None:
        self._sequence = 0
        # Every event is an object with at least one field, so that the lane can be appended at its end.
        self._tail = b"}" if lane is None else b',"stream_id":' + _encode(lane) + b"}"

    def event(self, kind: str, **fields: Any) -> Event:
        """Encode an event of this type with these fields, in this order."""
        assert kind in EVENT_TYPES, kind
        head = {"type": kind, "sequence_number": self._sequence}
        self._sequence += 1
        return Event(kind, _encode(head | fields)[:-1] + self._tail)

    def deltas(self, kind: str, **fields: Any) -> Callable[[str], Event]:
        """Return a fast encoder of delta events, which differ only in delta and sequence number."""
        assert kind in EVENT_TYPES, kind
        head = _encode({"type": kind})[:-1] + b',"sequence_number":'
        middle = b"," + _encode(fields)[1:-1] + b',"delta":'
        tail = self._tail

        def make(delta: str) -> Event:
            number = self._sequence
            self._sequence = number + 1
            return Event(kind, b"%b%d%b%b%b" % (head, number, middle, _encode(delta), tail))

        return make


def error_event(error: ApiError, lane: str | None) -> Event:
    """The ``error`` event for a refused request on a socket."""
    if not error.is_typed:
        return Event("error", _encode({"error": {"message": error.message, "type": error.type}}))
    detail: dict[str, Any] = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
    fields: dict[str, Any] = {"type": "error", "status": error.status}
    if lane is not None:
        fields["stream_id"] = lane
    if error.headers:
        detail |= {"headers": error.headers}
    return Event("error", _encode(fields | {"error": detail}))
