"""What the service sends: one event per frame, decoded as far as it is used and no further.

The events that trunkline acts on, or that a caller commonly reads, are structs of one tagged union. Every
other event is an `UnknownEvent`: new types and new fields appear all the time, and are passed on, never
failed on. Only fields that are used are declared, so that a field nobody reads can never fail a turn.

`decode` returns an event for every JSON object with a ``type``, and raises `ProtocolViolation` for
everything else. A known event whose fields are impossible becomes an `InvalidEvent`, which concerns its own
response alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Raw, field

from .errors import ProtocolViolation
from .plain_json import JSON, repaired
from .plain_json import decode as decode_json
from .quiet import QuietStruct
from .response import Response


class Event(QuietStruct, tag_field="type"):
    """What all server events share.

    Attributes:
        type: the event's type, such as ``response.output_text.delta``.
        is_delta: it is a piece of an output item.
        stream_id: the lane it belongs to; ``None`` on the default lane.
        sequence_number: its number within its response, where the server counts.
        raw: the frame as it arrived.
    """

    type: ClassVar[str]
    is_delta: ClassVar[bool] = False
    stream_id: str | None = None
    sequence_number: Any = None
    raw: bytes = field(name=" raw", default=b"")

    def json(self) -> JSON:
        """The whole event as plain JSON, decoded anew from the frame."""
        value: JSON = decode_json(self.raw)
        return value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type}>"  # never the content


class _ResponseEvent(Event, kw_only=True):
    response: Response


class ResponseCreated(_ResponseEvent, tag="response.created"):
    """The response exists, and has its id."""


class ResponseQueued(_ResponseEvent, tag="response.queued"):
    """The response waits for its turn."""


class ResponseInProgress(_ResponseEvent, tag="response.in_progress"):
    """The model works on it. A fork's parent may be advanced from now on."""


class ResponseCompleted(_ResponseEvent, tag="response.completed"):
    """Terminal: the whole answer is there."""


class ResponseFailed(_ResponseEvent, tag="response.failed"):
    """Terminal: ``response.error`` says why."""


class ResponseIncomplete(_ResponseEvent, tag="response.incomplete"):
    """Terminal, and no error: ``response.incomplete_details`` says why the answer ends here."""


class _ItemEvent(Event, kw_only=True):
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


class OutputItemAdded(_ItemEvent, tag="response.output_item.added"):
    """An output item begins."""


class OutputItemDone(_ItemEvent, tag="response.output_item.done"):
    """An output item is whole. A tool call exists only now."""


class _Place(QuietStruct):
    item_id: Any = None
    output_index: Any = None
    content_index: Any = None


def _decode_place(frame: bytes) -> _Place:
    try:
        return _read_place(frame)
    except ValueError:
        return _read_place(repaired(frame))


_read_place: Final[Callable[[bytes], _Place]] = msgspec.json.Decoder(_Place).decode


class _PlacedEvent(Event, kw_only=True):
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


class Delta(_PlacedEvent, kw_only=True, gc=False):
    """A piece of an output item. It changes nothing but the item."""

    is_delta: ClassVar[bool] = True
    delta: str


class OutputTextDelta(Delta, tag="response.output_text.delta", gc=False):
    """More text of an output message."""


class RefusalDelta(Delta, tag="response.refusal.delta", gc=False):
    """More text of a refusal."""


class FunctionCallArgumentsDelta(Delta, tag="response.function_call_arguments.delta", gc=False):
    """More of a call's arguments; not to be acted on before the item is done."""


class CustomToolCallInputDelta(Delta, tag="response.custom_tool_call_input.delta", gc=False):
    """More of a custom tool call's input; not to be acted on before the item is done."""


class ReasoningTextDelta(Delta, tag="response.reasoning_text.delta", gc=False):
    """More reasoning text."""


class ReasoningSummaryTextDelta(Delta, tag="response.reasoning_summary_text.delta", gc=False):
    """More of a reasoning summary."""


class OutputTextDone(_PlacedEvent, tag="response.output_text.done", kw_only=True):
    """The text of one content part is whole."""

    text: str


class FunctionCallArgumentsDone(_PlacedEvent, tag="response.function_call_arguments.done", kw_only=True):
    """The arguments of a call are whole; the call itself exists when its item is done."""

    arguments: str


class ErrorBody(QuietStruct):
    """What an error says. Every field may be missing."""

    code: Any = None
    message: Any = None
    type: Any = None
    param: Any = None
    headers: Any = None


class ErrorEvent(Event, tag="error", kw_only=True):
    """Terminal for the request it answers.

    Both shapes are read: nested, as the service sends it, and flat, as older gateways do.
    """

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


class Steer(QuietStruct):
    """The steering request that a ``response.steer.*`` event speaks of."""

    id: str | None = None
    previous_response_id: str | None = None
    input: Any = None


class SteerAccepted(Event, tag="response.steer.accepted", kw_only=True):
    """The service owns the steering input now."""

    steer: Steer


class SteerFailed(Event, tag="response.steer.failed", kw_only=True):
    """The steering input comes back: ``steer.input``."""

    steer: Steer
    error: ErrorBody | None = None


class SteerPending(Event, tag="response.steer.pending", kw_only=True):
    """Tool outputs or approvals are owed first: ``required_input`` has the stubs."""

    steer: Steer
    reason: Any = None
    required_input: list[JSON] = field(default_factory=list)


class _Opaque(QuietStruct):
    """An event that is not one of the union; ``type`` comes from the frame."""

    is_delta: ClassVar[bool] = False
    type: str
    raw: bytes = b""
    stream_id: str | None = None
    sequence_number: Any = None

    def json(self) -> JSON:
        """The whole event as plain JSON, decoded anew from the frame."""
        value: JSON = decode_json(self.raw)
        return value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type}>"


class UnknownEvent(_Opaque):
    """An event of a type that trunkline does not know.

    Attributes:
        has_output: it speaks of an output item, so the caller sees a part of the answer in it.
    """

    has_output: bool = False


class InvalidEvent(_Opaque):
    """A known event with impossible fields: it fails its own response, and nothing else.

    Attributes:
        problem: what is wrong with it, by field and type; never the content.
    """

    problem: str = ""


_Decodable: TypeAlias = (
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
    | ResponseFailed
    | ResponseIncomplete
    | ErrorEvent
    | SteerAccepted
    | SteerFailed
    | SteerPending
)
ServerEvent: TypeAlias = _Decodable | UnknownEvent | InvalidEvent

_KNOWN: Final = {cls.__struct_config__.tag: cls for cls in _Decodable.__args__}
for _tag, _cls in _KNOWN.items():
    _cls.type = str(_tag)

TERMINAL: Final = frozenset({ResponseCompleted.type, ResponseFailed.type, ResponseIncomplete.type})
"""The types that end a response. An ``error`` ends the request it answers."""

BEFORE_OUTPUT: Final = (ResponseCreated, ResponseQueued, ResponseInProgress)
_WITHOUT_OUTPUT: Final = (
    *BEFORE_OUTPUT,
    ResponseCompleted,
    ResponseFailed,
    ResponseIncomplete,
    ErrorEvent,
    SteerAccepted,
    SteerFailed,
    SteerPending,
    InvalidEvent,
)


def is_output(event: ServerEvent) -> bool:
    """Whether the caller sees a part of the answer in this event, so that a replay would repeat it."""
    if isinstance(event, UnknownEvent):
        return event.has_output
    return not isinstance(event, _WITHOUT_OUTPUT)


class _Envelope(QuietStruct):
    type: Any = None
    stream_id: Any = None
    sequence_number: Any = None
    item: Raw = Raw(b"null")
    item_id: Raw = Raw(b"null")
    output_index: Raw = Raw(b"null")
    delta: Raw = Raw(b"null")


_decode_known: Final[Callable[[bytes], _Decodable]] = msgspec.json.Decoder(_Decodable).decode
_decode_envelope: Final[Callable[[bytes], _Envelope]] = msgspec.json.Decoder(_Envelope).decode


def decode(frame: bytes) -> ServerEvent:
    """The event in one frame.

    Raises:
        ProtocolViolation: the frame is not a JSON object with a ``type``.
    """
    try:
        if not frame.isascii():
            frame.decode()  # msgspec looks only at the texts that it decodes
        event = _decode_known(frame)
    except msgspec.ValidationError as error:
        return _decode_other(frame, error)
    except (ValueError, RecursionError):
        return _decode_repaired(frame)
    event.raw = frame
    return event


def _decode_repaired(frame: bytes) -> ServerEvent:
    try:
        event = _decode_known(repaired(frame))
    except msgspec.ValidationError as error:
        return _decode_other(frame, error)
    except (ValueError, RecursionError):
        raise ProtocolViolation("the server sent a frame that is not JSON") from None
    event.raw = frame
    return event


def _decode_other(frame: bytes, error: msgspec.ValidationError) -> ServerEvent:
    """An event that is not of the union, or not as the union has it."""
    envelope = _envelope_of(frame)
    kind, lane = envelope.type, envelope.stream_id
    if not isinstance(kind, str) or not kind:
        raise ProtocolViolation("the server sent a frame without a type")
    stream_id = lane if isinstance(lane, str) else None
    number = envelope.sequence_number
    if kind in _KNOWN:
        return InvalidEvent(kind, frame, stream_id, number, problem=str(error))
    parts = (envelope.item, envelope.item_id, envelope.output_index, envelope.delta)
    return UnknownEvent(
        kind, frame, stream_id, number, has_output=any(bytes(part) != b"null" for part in parts)
    )


def _envelope_of(frame: bytes) -> _Envelope:
    for readable in (bytes, repaired):
        try:
            return _decode_envelope(readable(frame))
        except (ValueError, RecursionError):
            continue
    raise ProtocolViolation("the server sent a frame that is not a JSON object")
