"""Events of a response: a class for each type that trunkline handles or that callers commonly use.

Events of other types are an `UnknownEvent` and are passed on. Classes declare only the fields that are used,
so that an unexpected value in another field does not fail a turn.

The comparison ``event.type == "…"`` narrows `ServerEvent` for type checkers, because ``type`` is a literal in
each class. It is a class variable, because msgspec does not allow the tag of a union as a field.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw, field

from .error_fields import ErrorFields, read_error
from .json import JSON, repaired
from .json import decode as decode_json
from .quiet import QuietBytes, QuietStruct
from .response import Response


class EventKind(IntEnum):
    """The effect of an event on its response.

    Integers, because each event's kind is hashed; the hash of other enumerations is computed in Python.
    """

    CREATED = auto()
    """The response begins."""

    QUEUED = auto()
    """The response waits for the model to begin."""

    IN_PROGRESS = auto()
    """The model works on the response. Its parent's lane may take a new request."""

    OUTPUT = auto()
    """A part of the output. A replay of the request would repeat it."""

    OTHER = auto()
    """An event of an unknown type without output."""

    COMPLETED = auto()
    """The response ends with its whole output."""

    INCOMPLETE = auto()
    """The response ends with a part of its output."""

    FAILED = auto()
    """The response ends with an error."""

    ERROR = auto()
    """The request is refused, or the running response ends with an error."""

    STEER = auto()
    """The outcome of a steer."""

    INVALID = auto()
    """An event of a known type with invalid fields."""

    @property
    def is_beginning(self) -> bool:
        """Whether such an event precedes all output. A response has at most one of each kind."""
        return self <= EventKind.IN_PROGRESS

    @property
    def is_terminal(self) -> bool:
        """Whether such an event ends its response."""
        return EventKind.COMPLETED <= self <= EventKind.FAILED


class MadeFrame(QuietBytes):
    """The frame of an event that the library makes of what came in another event. No server sent it."""


class Event(QuietStruct, tag_field="type", frozen=True):
    """Base class of all events. Events are immutable.

    Attributes:
        kind: the effect of the event on its response.
        type: the event's type, such as ``response.output_text.delta``; ``unknown`` for an `UnknownEvent`.
        is_delta: the event is a piece of an output item.
        stream_id: the lane of the event; ``None`` on the default lane.
        sequence_number: the number of the event within its response; ``None`` if the server gives none.
        raw: the frame as received.
    """

    kind: ClassVar[EventKind] = EventKind.OUTPUT
    type: ClassVar[str]
    is_delta: ClassVar[bool] = False
    stream_id: str | None = None
    sequence_number: Any = None
    # No server sends this name: the frame is set after decoding, and never read from JSON.
    raw: bytes = field(name=" raw", default=b"")

    @property
    def wire_type(self) -> str:
        """The type that the server sent. It differs from ``type`` for an `UnknownEvent` only."""
        return self.type

    def json(self) -> JSON:
        """The whole event as plain JSON, decoded from the frame on each call."""
        value: JSON = decode_json(self.raw)
        return value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.wire_type}>"  # no content


class ResponseEvent(Event, kw_only=True, frozen=True):
    """Base class of the life-cycle events, which carry the response."""

    response: Response


class ResponseCreated(ResponseEvent, tag="response.created", frozen=True):
    """The response exists and has an id."""

    type: ClassVar[Literal["response.created"]] = "response.created"
    kind: ClassVar[EventKind] = EventKind.CREATED


class ResponseQueued(ResponseEvent, tag="response.queued", frozen=True):
    """The response waits for the model to begin."""

    type: ClassVar[Literal["response.queued"]] = "response.queued"
    kind: ClassVar[EventKind] = EventKind.QUEUED


class ResponseInProgress(ResponseEvent, tag="response.in_progress", frozen=True):
    """The model works on the response. If it is a fork, its parent's lane may take a new request now."""

    type: ClassVar[Literal["response.in_progress"]] = "response.in_progress"
    kind: ClassVar[EventKind] = EventKind.IN_PROGRESS


class ResponseCompleted(ResponseEvent, tag="response.completed", frozen=True):
    """The response ends with its whole output. Terminal."""

    type: ClassVar[Literal["response.completed"]] = "response.completed"
    kind: ClassVar[EventKind] = EventKind.COMPLETED


class ResponseFailedEvent(ResponseEvent, tag="response.failed", frozen=True):
    """The response ends with an error: ``response.error``. Terminal."""

    type: ClassVar[Literal["response.failed"]] = "response.failed"
    kind: ClassVar[EventKind] = EventKind.FAILED


class ResponseIncomplete(ResponseEvent, tag="response.incomplete", frozen=True):
    """The response ends with a part of its output. Terminal, and not an error.

    ``response.incomplete_details`` holds the reason.
    """

    type: ClassVar[Literal["response.incomplete"]] = "response.incomplete"
    kind: ClassVar[EventKind] = EventKind.INCOMPLETE


class _ItemEvent(Event, kw_only=True, frozen=True):
    encoded_item: Raw = field(name="item")
    _output_index: Any = field(name="output_index", default=None)

    @property
    def output_index(self) -> int | None:
        """The index of the item in the response's output, from 0; ``None`` if the server gives no number."""
        return _index_or_none(self._output_index)

    def __post_init__(self) -> None:
        if not isinstance(self.item, dict):
            raise ValueError("an item is an object")

    @property
    def item(self) -> JSON:
        """The output item as plain JSON, decoded on each call."""
        value: JSON = msgspec.json.decode(self.encoded_item)
        return value


class OutputItemAdded(_ItemEvent, tag="response.output_item.added", frozen=True):
    """An output item begins."""

    type: ClassVar[Literal["response.output_item.added"]] = "response.output_item.added"


class OutputItemDone(_ItemEvent, tag="response.output_item.done", frozen=True):
    """An output item is complete. A tool call may be executed from now on."""

    type: ClassVar[Literal["response.output_item.done"]] = "response.output_item.done"


class _Position(QuietStruct, frozen=True):
    item_id: Any = None
    output_index: Any = None
    content_index: Any = None


_decode_position: Final[Callable[[bytes], _Position]] = msgspec.json.Decoder(_Position).decode


class _PartEvent(Event, kw_only=True, frozen=True):
    """An event about a part of an output item.

    The position of the part is decoded on access, because few callers use it.
    """

    @property
    def item_id(self) -> str | None:
        """The id of the item."""
        value = self._position.item_id
        return value if isinstance(value, str) else None

    @property
    def output_index(self) -> int | None:
        """The index of the item in the response's output, from 0."""
        return _index_or_none(self._position.output_index)

    @property
    def content_index(self) -> int | None:
        """The index of the part in the item's content, from 0."""
        return _index_or_none(self._position.content_index)

    @property
    def part(self) -> tuple[object, ...]:
        """The part, for comparison with that of another event."""
        return (self.item_id, self.output_index, self.content_index)

    @property
    def _position(self) -> _Position:
        if not self.raw:
            return _Position()
        try:
            return _decode_position(self.raw)
        except ValueError:
            return _decode_position(repaired(self.raw))


class Delta(_PartEvent, kw_only=True, gc=False, frozen=True):
    """A piece of an output item."""

    is_delta: ClassVar[bool] = True
    delta: str


class OutputTextDelta(Delta, tag="response.output_text.delta", gc=False, frozen=True):
    """More text of an output message."""

    type: ClassVar[Literal["response.output_text.delta"]] = "response.output_text.delta"


class RefusalDelta(Delta, tag="response.refusal.delta", gc=False, frozen=True):
    """More text of a refusal."""

    type: ClassVar[Literal["response.refusal.delta"]] = "response.refusal.delta"


class FunctionCallArgumentsDelta(Delta, tag="response.function_call_arguments.delta", gc=False, frozen=True):
    """More of a call's arguments. Execute the call only when its item is done."""

    type: ClassVar[Literal["response.function_call_arguments.delta"]] = (
        "response.function_call_arguments.delta"
    )


class CustomToolCallInputDelta(Delta, tag="response.custom_tool_call_input.delta", gc=False, frozen=True):
    """More of a custom tool call's input. Execute the call only when its item is done."""

    type: ClassVar[Literal["response.custom_tool_call_input.delta"]] = "response.custom_tool_call_input.delta"


class ReasoningTextDelta(Delta, tag="response.reasoning_text.delta", gc=False, frozen=True):
    """More reasoning text."""

    type: ClassVar[Literal["response.reasoning_text.delta"]] = "response.reasoning_text.delta"


class ReasoningSummaryTextDelta(Delta, tag="response.reasoning_summary_text.delta", gc=False, frozen=True):
    """More of a reasoning summary."""

    type: ClassVar[Literal["response.reasoning_summary_text.delta"]] = "response.reasoning_summary_text.delta"


class OutputTextDone(_PartEvent, tag="response.output_text.done", kw_only=True, frozen=True):
    """The text of a content part is complete."""

    type: ClassVar[Literal["response.output_text.done"]] = "response.output_text.done"
    text: str


class FunctionCallArgumentsDone(
    _PartEvent, tag="response.function_call_arguments.done", kw_only=True, frozen=True
):
    """The arguments of a call are complete. Execute the call only when its item is done."""

    type: ClassVar[Literal["response.function_call_arguments.done"]] = "response.function_call_arguments.done"
    arguments: str


class CustomToolCallInputDone(
    _PartEvent, tag="response.custom_tool_call_input.done", kw_only=True, frozen=True
):
    """The input of a custom tool call is complete. Execute the call only when its item is done."""

    type: ClassVar[Literal["response.custom_tool_call_input.done"]] = "response.custom_tool_call_input.done"
    input: str


class ErrorBody(QuietStruct, frozen=True):
    """The fields of an error. Any of them may be missing."""

    code: Any = None
    message: Any = None
    type: Any = None
    param: Any = None
    headers: Any = None


class ErrorEvent(Event, tag="error", kw_only=True, frozen=True):
    """An error of a request or of a running response. Terminal.

    The fields may be nested in ``error``, as the service sends them, or stand elsewhere; see `error_fields`.
    """

    type: ClassVar[Literal["error"]] = "error"
    kind: ClassVar[EventKind] = EventKind.ERROR
    error: Any = None
    response_id: Any = None
    status: Any = None
    flat_code: Any = field(name="code", default=None)
    flat_message: Any = field(name="message", default=None)
    flat_param: Any = field(name="param", default=None)

    @property
    def fields(self) -> ErrorFields:
        """The fields of the error, in whatever spelling the server sent them; decoded on each access."""
        try:
            return read_error(decode_json(self.raw))
        except (ValueError, RecursionError):  # a field that is not declared, with a number out of range
            return read_error({"error": self.error, "code": self.flat_code, "message": self.flat_message})

    @property
    def body(self) -> ErrorBody:
        """The fields of the error, nested or flat."""
        fields = self.fields
        return ErrorBody(
            code=fields.code,
            message=fields.message,
            type=fields.error_type,
            param=fields.param,
            headers=dict(fields.headers),
        )

    @property
    def code(self) -> str | None:
        """The error's code; ``None`` without one."""
        return self.fields.code

    @property
    def message(self) -> str:
        """The error's message for humans; the code if it has none."""
        fields = self.fields
        return fields.message or fields.code or "the service gave no message"

    @property
    def headers(self) -> dict[str, str]:
        """Header fields of the error, with lower-case names."""
        return dict(self.fields.headers)


def _index_or_none(value: object) -> int | None:
    """An index: some servers write 0 as 0.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


class Steer(QuietStruct, frozen=True):
    """The steer that a ``response.steer.*`` event reports on."""

    id: str | None = None
    previous_response_id: str | None = None
    input: Any = None


class SteerEvent(Event, kw_only=True, frozen=True):
    """Base class of the events that report the outcome of a steer."""

    kind: ClassVar[EventKind] = EventKind.STEER
    steer: Steer


class SteerAccepted(SteerEvent, tag="response.steer.accepted", kw_only=True, frozen=True):
    """The service accepted the steer; its input becomes part of a later response."""

    type: ClassVar[Literal["response.steer.accepted"]] = "response.steer.accepted"


class SteerFailed(SteerEvent, tag="response.steer.failed", kw_only=True, frozen=True):
    """The service did not use the steer and returns its input in ``steer.input``."""

    type: ClassVar[Literal["response.steer.failed"]] = "response.steer.failed"
    error: ErrorBody | None = None


class SteerPending(SteerEvent, tag="response.steer.pending", kw_only=True, frozen=True):
    """The steer waits for tool outputs or approvals; ``required_input`` holds their stubs."""

    type: ClassVar[Literal["response.steer.pending"]] = "response.steer.pending"
    reason: Any = None
    required_input: list[JSON] = field(default_factory=list)


class UnknownEvent(Event, tag="unknown", kw_only=True, frozen=True):
    """An event of a type without a class, or of a known type whose content is missing or ``null``.

    Attributes:
        wire_type: the type that the server sent.
    """

    type: ClassVar[Literal["unknown"]] = "unknown"
    kind: ClassVar[EventKind] = EventKind.OTHER
    wire_type: str

    @property
    def has_output(self) -> bool:
        """Whether the event names an output item, and so is a part of the output."""
        return self.kind is EventKind.OUTPUT


class UnknownOutputEvent(UnknownEvent, tag="unknown", kw_only=True, frozen=True):
    """An event of a type without a class that names an output item."""

    kind: ClassVar[EventKind] = EventKind.OUTPUT


class InvalidEvent(Event, tag="invalid", kw_only=True, frozen=True):
    """An event of a known type with invalid fields. It fails its response and is not passed to callers.

    Attributes:
        wire_type: the type that the server sent.
        problem: the name and the type of the invalid field, without its value.
    """

    type: ClassVar[Literal["invalid"]] = "invalid"
    kind: ClassVar[EventKind] = EventKind.INVALID
    wire_type: str
    problem: str = ""

    @property
    def intended_kind(self) -> EventKind:
        """The kind of a valid event of this type."""
        return _KINDS[self.wire_type]


AnyDelta: TypeAlias = (
    OutputTextDelta
    | RefusalDelta
    | FunctionCallArgumentsDelta
    | CustomToolCallInputDelta
    | ReasoningTextDelta
    | ReasoningSummaryTextDelta
)
KnownEvent: TypeAlias = (
    AnyDelta
    | OutputTextDone
    | FunctionCallArgumentsDone
    | CustomToolCallInputDone
    | OutputItemAdded
    | OutputItemDone
    | ResponseCreated
    | ResponseQueued
    | ResponseInProgress
    | ResponseCompleted
    | ResponseFailedEvent
    | ResponseIncomplete
    | ErrorEvent
    | SteerAccepted
    | SteerFailed
    | SteerPending
)
ServerEvent: TypeAlias = KnownEvent | UnknownEvent
"""The events passed to callers."""
ReceivedEvent: TypeAlias = ServerEvent | InvalidEvent
"""The events that `decoding.decode` returns."""

_KINDS: Final[dict[str, EventKind]] = {cls.type: cls.kind for cls in get_args(KnownEvent)}
