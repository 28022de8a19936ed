"""The events of a response: one class for each type that trunkline acts on or callers commonly read.

Every other event is an `UnknownEvent`: new types and fields appear all the time, and are passed on.
Only fields that are used are declared, so that a field nobody reads can never fail a turn.

``event.type == "…"`` narrows `ServerEvent` for type checkers: ``type`` is a literal in each class. It cannot
be a field as well, because msgspec keeps the tag of a union out of the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw, field

from .json import JSON, repaired
from .json import decode as decode_json
from .quiet import QuietStruct
from .response import Response


class EventKind(IntEnum):
    """What an event does to its response. The one classification of events.

    Integers, because they are hashed for every event, which plain enumerations do in Python.
    """

    CREATED = auto()
    """The response begins."""

    QUEUED = auto()
    """The response waits for the model."""

    IN_PROGRESS = auto()
    """The model works on the response; its parent may be advanced."""

    OUTPUT = auto()
    """A part of the answer: a replay would repeat it."""

    OTHER = auto()
    """An unknown event without output."""

    COMPLETED = auto()
    """The response ends with the whole answer."""

    INCOMPLETE = auto()
    """The response ends early."""

    FAILED = auto()
    """The response ends with an error."""

    ERROR = auto()
    """The request ends without a response, or a running response ends."""

    STEER = auto()
    """The outcome of a steer."""

    INVALID = auto()
    """A known event that cannot be read."""

    @property
    def is_beginning(self) -> bool:
        """Whether it precedes all output, and occurs once in a response."""
        return self <= EventKind.IN_PROGRESS

    @property
    def is_terminal(self) -> bool:
        """Whether it ends a response."""
        return EventKind.COMPLETED <= self <= EventKind.FAILED


class Event(QuietStruct, tag_field="type", frozen=True):
    """Base class of all events. Events are immutable.

    Attributes:
        kind: what the event does to its response.
        type: the event's type, such as ``response.output_text.delta``; ``unknown`` for an `UnknownEvent`.
        is_delta: whether the event is a piece of an output item.
        stream_id: the lane of the event; ``None`` on the default lane.
        sequence_number: the number of the event within its response, where the server counts.
        raw: the frame as it arrived.
    """

    kind: ClassVar[EventKind] = EventKind.OUTPUT
    type: ClassVar[str]
    is_delta: ClassVar[bool] = False
    stream_id: str | None = None
    sequence_number: Any = None
    raw: bytes = field(name=" raw", default=b"")

    @property
    def wire_type(self) -> str:
        """The type as the server sent it; for every event but an `UnknownEvent` the same as ``type``."""
        return self.type

    def json(self) -> JSON:
        """The whole event as plain JSON, decoded anew from the frame."""
        value: JSON = decode_json(self.raw)
        return value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.wire_type}>"  # never the content


class ResponseEvent(Event, kw_only=True, frozen=True):
    """Base class of the life-cycle events, which carry the response."""

    response: Response


class ResponseCreated(ResponseEvent, tag="response.created", frozen=True):
    """The response exists, and has its id."""

    type: ClassVar[Literal["response.created"]] = "response.created"
    kind: ClassVar[EventKind] = EventKind.CREATED


class ResponseQueued(ResponseEvent, tag="response.queued", frozen=True):
    """The response waits for its turn."""

    type: ClassVar[Literal["response.queued"]] = "response.queued"
    kind: ClassVar[EventKind] = EventKind.QUEUED


class ResponseInProgress(ResponseEvent, tag="response.in_progress", frozen=True):
    """The model works on it. A fork's parent may be advanced from now on."""

    type: ClassVar[Literal["response.in_progress"]] = "response.in_progress"
    kind: ClassVar[EventKind] = EventKind.IN_PROGRESS


class ResponseCompleted(ResponseEvent, tag="response.completed", frozen=True):
    """Terminal: the whole answer is there."""

    type: ClassVar[Literal["response.completed"]] = "response.completed"
    kind: ClassVar[EventKind] = EventKind.COMPLETED


class ResponseFailedEvent(ResponseEvent, tag="response.failed", frozen=True):
    """Terminal: ``response.error`` says why."""

    type: ClassVar[Literal["response.failed"]] = "response.failed"
    kind: ClassVar[EventKind] = EventKind.FAILED


class ResponseIncomplete(ResponseEvent, tag="response.incomplete", frozen=True):
    """Terminal, and no error: ``response.incomplete_details`` says why the answer ends here."""

    type: ClassVar[Literal["response.incomplete"]] = "response.incomplete"
    kind: ClassVar[EventKind] = EventKind.INCOMPLETE


class _ItemEvent(Event, kw_only=True, frozen=True):
    encoded_item: Raw = field(name="item")
    output_index: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.item, dict):
            raise ValueError("an item is an object")

    @property
    def item(self) -> JSON:
        """The output item as plain JSON, decoded anew."""
        value: JSON = msgspec.json.decode(self.encoded_item)
        return value


class OutputItemAdded(_ItemEvent, tag="response.output_item.added", frozen=True):
    """An output item begins."""

    type: ClassVar[Literal["response.output_item.added"]] = "response.output_item.added"


class OutputItemDone(_ItemEvent, tag="response.output_item.done", frozen=True):
    """An output item is whole. A tool call exists only now."""

    type: ClassVar[Literal["response.output_item.done"]] = "response.output_item.done"


class _Place(QuietStruct, frozen=True):
    item_id: Any = None
    output_index: Any = None
    content_index: Any = None


def _decode_place(frame: bytes) -> _Place:
    try:
        return _read_place(frame)
    except ValueError:
        return _read_place(repaired(frame))


_read_place: Final[Callable[[bytes], _Place]] = msgspec.json.Decoder(_Place).decode


class _PlacedEvent(Event, kw_only=True, frozen=True):
    """What belongs to a part of an output item. Which part is read when it is asked for: most never ask."""

    @property
    def item_id(self) -> str | None:
        """The id of the item."""
        value = self._place.item_id
        return value if isinstance(value, str) else None

    @property
    def output_index(self) -> int | None:
        """The place of the item in the response's output, from 0."""
        value = self._place.output_index
        return value if isinstance(value, int) else None

    @property
    def content_index(self) -> int | None:
        """The place of the part in the item's content, from 0."""
        value = self._place.content_index
        return value if isinstance(value, int) else None

    @property
    def _place(self) -> _Place:
        return _decode_place(self.raw) if self.raw else _Place()


class Delta(_PlacedEvent, kw_only=True, gc=False, frozen=True):
    """A piece of an output item. It changes nothing but the item."""

    is_delta: ClassVar[bool] = True
    delta: str


class OutputTextDelta(Delta, tag="response.output_text.delta", gc=False, frozen=True):
    """More text of an output message."""

    type: ClassVar[Literal["response.output_text.delta"]] = "response.output_text.delta"


class RefusalDelta(Delta, tag="response.refusal.delta", gc=False, frozen=True):
    """More text of a refusal."""

    type: ClassVar[Literal["response.refusal.delta"]] = "response.refusal.delta"


class FunctionCallArgumentsDelta(Delta, tag="response.function_call_arguments.delta", gc=False, frozen=True):
    """More of a call's arguments; not to be acted on before the item is done."""

    type: ClassVar[Literal["response.function_call_arguments.delta"]] = (
        "response.function_call_arguments.delta"
    )


class CustomToolCallInputDelta(Delta, tag="response.custom_tool_call_input.delta", gc=False, frozen=True):
    """More of a custom tool call's input; not to be acted on before the item is done."""

    type: ClassVar[Literal["response.custom_tool_call_input.delta"]] = "response.custom_tool_call_input.delta"


class ReasoningTextDelta(Delta, tag="response.reasoning_text.delta", gc=False, frozen=True):
    """More reasoning text."""

    type: ClassVar[Literal["response.reasoning_text.delta"]] = "response.reasoning_text.delta"


class ReasoningSummaryTextDelta(Delta, tag="response.reasoning_summary_text.delta", gc=False, frozen=True):
    """More of a reasoning summary."""

    type: ClassVar[Literal["response.reasoning_summary_text.delta"]] = "response.reasoning_summary_text.delta"


class OutputTextDone(_PlacedEvent, tag="response.output_text.done", kw_only=True, frozen=True):
    """The text of one content part is whole."""

    type: ClassVar[Literal["response.output_text.done"]] = "response.output_text.done"
    text: str


class FunctionCallArgumentsDone(
    _PlacedEvent, tag="response.function_call_arguments.done", kw_only=True, frozen=True
):
    """The arguments of a call are whole; the call itself exists when its item is done."""

    type: ClassVar[Literal["response.function_call_arguments.done"]] = "response.function_call_arguments.done"
    arguments: str


class ErrorBody(QuietStruct, frozen=True):
    """What an error says. Every field may be missing."""

    code: Any = None
    message: Any = None
    type: Any = None
    param: Any = None
    headers: Any = None


class ErrorEvent(Event, tag="error", kw_only=True, frozen=True):
    """Terminal for the request it answers.

    Both shapes are read: nested, as the service sends it, and flat, as older gateways do.
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
    def body(self) -> ErrorBody:
        """The error in one shape, whatever shape it came in."""
        if isinstance(self.error, dict):
            return msgspec.convert(self.error, ErrorBody)
        return ErrorBody(code=self.flat_code, message=self.flat_message or self.error, param=self.flat_param)

    @property
    def code(self) -> str | None:
        """The error's code; ``None`` when the service gave none."""
        return _text_or_none(self.body.code)

    @property
    def message(self) -> str:
        """What the service says of it, for people."""
        return _text_or_none(self.body.message) or self.code or "the service gave no message"

    @property
    def headers(self) -> dict[str, str]:
        """Header fields that came with the error, names in lower case."""
        headers = self.body.headers
        if not isinstance(headers, dict):
            return {}
        return {str(name).lower(): str(value) for name, value in headers.items()}


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


class Steer(QuietStruct, frozen=True):
    """The steering request that a ``response.steer.*`` event speaks of."""

    id: str | None = None
    previous_response_id: str | None = None
    input: Any = None


class SteerEvent(Event, kw_only=True, frozen=True):
    """Base class of the events that report the outcome of a steer."""

    kind: ClassVar[EventKind] = EventKind.STEER
    steer: Steer


class SteerAccepted(SteerEvent, tag="response.steer.accepted", kw_only=True, frozen=True):
    """The service owns the steering input now."""

    type: ClassVar[Literal["response.steer.accepted"]] = "response.steer.accepted"


class SteerFailed(SteerEvent, tag="response.steer.failed", kw_only=True, frozen=True):
    """The steering input comes back: ``steer.input``."""

    type: ClassVar[Literal["response.steer.failed"]] = "response.steer.failed"
    error: ErrorBody | None = None


class SteerPending(SteerEvent, tag="response.steer.pending", kw_only=True, frozen=True):
    """Tool outputs or approvals are owed first: ``required_input`` has the stubs."""

    type: ClassVar[Literal["response.steer.pending"]] = "response.steer.pending"
    reason: Any = None
    required_input: list[JSON] = field(default_factory=list)


class UnknownEvent(Event, tag="unknown", kw_only=True, frozen=True):
    """An event of a type that trunkline does not know.

    Attributes:
        wire_type: the type as the server sent it.
    """

    type: ClassVar[Literal["unknown"]] = "unknown"
    kind: ClassVar[EventKind] = EventKind.OTHER
    wire_type: str

    @property
    def has_output(self) -> bool:
        """Whether the event names an output item, so that it is a part of the answer."""
        return self.kind is EventKind.OUTPUT


class UnknownOutputEvent(UnknownEvent, tag="unknown", kw_only=True, frozen=True):
    """An unknown event that names an output item."""

    kind: ClassVar[EventKind] = EventKind.OUTPUT


class InvalidEvent(Event, tag="invalid", kw_only=True, frozen=True):
    """A known event with impossible fields. It fails its own response; callers never see it.

    Attributes:
        wire_type: the type as the server sent it.
        problem: the field and the type that are wrong; never the content.
    """

    type: ClassVar[Literal["invalid"]] = "invalid"
    kind: ClassVar[EventKind] = EventKind.INVALID
    wire_type: str
    problem: str = ""

    @property
    def intended_kind(self) -> EventKind:
        """The kind of a valid event of its type."""
        return _KINDS[self.wire_type]


KnownEvent: TypeAlias = (
    OutputTextDelta
    | RefusalDelta
    | FunctionCallArgumentsDelta
    | CustomToolCallInputDelta
    | ReasoningTextDelta
    | ReasoningSummaryTextDelta
    | OutputTextDone
    | FunctionCallArgumentsDone
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
"""Every event that a caller sees."""
ReceivedEvent: TypeAlias = ServerEvent | InvalidEvent
"""Every event that `decode` returns. An `InvalidEvent` becomes an exception before it reaches a caller."""

_KINDS: Final[dict[str, EventKind]] = {cls.type: cls.kind for cls in get_args(KnownEvent)}
