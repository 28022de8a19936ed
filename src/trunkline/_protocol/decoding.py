"""Decoding of frames: one event per frame, decoded as far as it is used and no further.

`decode` returns an event for every JSON object with a ``type``, and raises `ProtocolViolation` for
everything else. A known event whose fields are impossible becomes an `InvalidEvent`, which concerns its own
response alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from ..errors import ProtocolViolation
from .events import InvalidEvent, KnownEvent, ReceivedEvent, UnknownEvent, UnknownOutputEvent
from .json import repaired
from .quiet import QuietStruct


class _Envelope(QuietStruct, frozen=True):
    type: Any = None
    stream_id: Any = None
    sequence_number: Any = None
    item: Raw = Raw(b"null")
    item_id: Raw = Raw(b"null")
    output_index: Raw = Raw(b"null")
    delta: Raw = Raw(b"null")


_KNOWN: Final = frozenset(cls.type for cls in get_args(KnownEvent))
_decode_known: Final[Callable[[bytes], KnownEvent]] = msgspec.json.Decoder(KnownEvent).decode
_decode_envelope: Final[Callable[[bytes], _Envelope]] = msgspec.json.Decoder(_Envelope).decode


def decode(frame: bytes) -> ReceivedEvent:
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
    force_setattr(event, "raw", frame)
    return event


def _decode_repaired(frame: bytes) -> ReceivedEvent:
    try:
        event = _decode_known(repaired(frame))
    except msgspec.ValidationError as error:
        return _decode_other(frame, error)
    except (ValueError, RecursionError):
        raise ProtocolViolation("the server sent a frame that is not JSON") from None
    force_setattr(event, "raw", frame)
    return event


def _decode_other(frame: bytes, error: msgspec.ValidationError) -> ReceivedEvent:
    """An event that is not of the union, or not as the union has it."""
    envelope = _envelope_of(frame)
    kind, lane = envelope.type, envelope.stream_id
    if not isinstance(kind, str) or not kind:
        raise ProtocolViolation("the server sent a frame without a type")
    stream_id = lane if isinstance(lane, str) else None
    number = envelope.sequence_number
    if kind in _KNOWN:
        return InvalidEvent(
            wire_type=kind, raw=frame, stream_id=stream_id, sequence_number=number, problem=str(error)
        )
    parts = (envelope.item, envelope.item_id, envelope.output_index, envelope.delta)
    has_output = any(bytes(part) != b"null" for part in parts)
    unknown = UnknownOutputEvent if has_output else UnknownEvent
    return unknown(wire_type=kind, raw=frame, stream_id=stream_id, sequence_number=number)


def _envelope_of(frame: bytes) -> _Envelope:
    for readable in (bytes, repaired):
        try:
            return _decode_envelope(readable(frame))
        except (ValueError, RecursionError):
            continue
    raise ProtocolViolation("the server sent a frame that is not a JSON object")
