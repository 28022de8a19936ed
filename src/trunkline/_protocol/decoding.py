"""Decoding of frames into events.

Each frame holds one event. Only the fields that trunkline uses are decoded. A known event with invalid fields
becomes an `InvalidEvent`, which fails its own response and no other. A known event without content, such as a
delta that is ``null``, becomes an `UnknownEvent`: it is passed on and has no effect. Terminal events are the
exception, because a response cannot end without its resource.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw
from msgspec.structs import fields, force_setattr

from ..errors import ProtocolViolation
from .cut_deltas import cut_or_whole
from .events import (
    Delta,
    ErrorEvent,
    InvalidEvent,
    KnownEvent,
    ReceivedEvent,
    UnknownEvent,
    UnknownOutputEvent,
)
from .json import decode as decode_json
from .json import encode, repaired
from .quiet import QuietStruct


class _Envelope(QuietStruct, frozen=True):
    type: Any = None
    error: Any = None
    stream_id: Any = None
    sequence_number: Any = None
    item: Raw = Raw(b"null")
    item_id: Raw = Raw(b"null")
    output_index: Raw = Raw(b"null")
    delta: Raw = Raw(b"null")
    response: Raw = Raw(b"null")
    text: Raw = Raw(b"null")
    arguments: Raw = Raw(b"null")
    input: Raw = Raw(b"null")
    steer: Raw = Raw(b"null")


_CONTENT: Final[dict[str, str | None]] = {
    cls.type: next((field.encode_name for field in fields(cls) if field.required), None)
    for cls in get_args(KnownEvent)
}
"""The required field of each known type: an event has one, and errors have none."""
_ENDS: Final = frozenset(cls.type for cls in get_args(KnownEvent) if cls.kind.is_terminal)
_WITHOUT_OUTPUT: Final = frozenset({"response.compaction.compacting"})
"""Events that name an output item and only report that the service is busy."""
_decode_known: Final[Callable[[bytes], KnownEvent]] = msgspec.json.Decoder(KnownEvent).decode
_decode_envelope: Final[Callable[[bytes], _Envelope]] = msgspec.json.Decoder(_Envelope).decode


def decode(frame: bytes) -> ReceivedEvent:
    """The event in a frame.

    Raises:
        ProtocolViolation: the frame is not a JSON object with a ``type``.
    """
    try:
        # msgspec checks the UTF-8 of the fields that it decodes only.
        if not frame.isascii():
            frame.decode()
        event = _decode_known(frame)
    except msgspec.ValidationError as error:
        return _decode_other(frame, error)
    except (ValueError, RecursionError):
        return _decode_repaired(frame)
    force_setattr(event, "raw", frame)
    return event


def _decode_repaired(frame: bytes) -> ReceivedEvent:
    """The event in a frame with lone surrogates, which msgspec refuses."""
    try:
        event = _decode_known(repaired(frame))
    except msgspec.ValidationError as error:
        return _decode_other(frame, error)
    except (ValueError, RecursionError):
        raise _violation(frame, "not JSON") from None
    force_setattr(event, "raw", frame)
    return cut_or_whole(event) if isinstance(event, Delta) else event


def _decode_other(frame: bytes, error: msgspec.ValidationError) -> ReceivedEvent:
    """An event of an unknown type, or a known event with invalid fields."""
    # 1. Only JSON objects with a type are events, and errors without one.
    try:
        envelope = _decode_envelope(frame)
    except (ValueError, RecursionError):
        # A list, say, or an object with lone surrogates.
        try:
            envelope = _decode_envelope(repaired(frame))
        except (ValueError, RecursionError):
            raise _violation(frame, "not a JSON object") from None
    kind, lane = envelope.type, envelope.stream_id
    if kind is None and envelope.error:
        # Errors of the layers in front of a server often have no type.
        return _decode_untyped_error(frame)
    if not isinstance(kind, str) or not kind:
        raise _violation(frame, "a JSON object without a type")
    stream_id = lane if isinstance(lane, str) else None
    number = envelope.sequence_number
    # 2. A known type without content. Of a response that ends, nothing else tells the status and the output.
    content = _CONTENT.get(kind)
    if content is not None and bytes(getattr(envelope, content)) == b"null" and kind not in _ENDS:
        return UnknownEvent(wire_type=kind, raw=frame, stream_id=stream_id, sequence_number=number)
    # 3. A known type: the fields are invalid.
    if kind in _CONTENT:
        return InvalidEvent(
            wire_type=kind, raw=frame, stream_id=stream_id, sequence_number=number, problem=str(error)
        )
    # 4. An unknown type counts as output if it names an output item: a replay would repeat it.
    parts = (envelope.item, envelope.item_id, envelope.output_index, envelope.delta)
    has_output = kind not in _WITHOUT_OUTPUT and any(bytes(part) != b"null" for part in parts)
    unknown = UnknownOutputEvent if has_output else UnknownEvent
    return unknown(wire_type=kind, raw=frame, stream_id=stream_id, sequence_number=number)


def _decode_untyped_error(frame: bytes) -> ReceivedEvent:
    """An object with an ``error`` and no ``type``, as an ``error`` event."""
    try:
        event = decode(encode({**decode_json(frame), "type": ErrorEvent.type}))
    except (ValueError, RecursionError):
        raise _violation(frame, "a JSON object without a type") from None
    force_setattr(event, "raw", frame)
    return event


def _violation(frame: bytes, problem: str) -> ProtocolViolation:
    return ProtocolViolation(
        f"received a frame of {len(frame)} bytes that is {problem}; "
        "check that base_url is the URL of a Responses API server"
    )
