"""Events and response resources as a client over HTTP gets them.

The bytes are those of the service, without the ``stream_id``, and with the ``previous_response_id`` that the
caller gave: the one that a delta names is not the caller's. A response whose id another one has gets its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from .._protocol.events import (
    Delta,
    EventKind,
    MadeFrame,
    OutputItemDone,
    ResponseEvent,
    ServerEvent,
    Steer,
    SteerEvent,
    SteerFailed,
    SteerPending,
)
from .._protocol.json import decode, encode, repaired

KEEP_ALIVE: Final = b": keep-alive\n\n"
_HANDED_BACK: Final = {
    "type": "invalid_request_error",
    "code": "response_not_active",
    "message": "The response ended in tool calls. Send the input with their outputs.",
    "param": None,
}
_STEER: Final = EventKind.STEER

_encode: Final = msgspec.json.Encoder().encode
_decode: Final[Callable[[bytes], dict[str, Raw]]] = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_items: Final[Callable[[bytes | Raw], list[Raw]]] = msgspec.json.Decoder(list[Raw]).decode


class Rewriting:
    """Writes the events of one response for its caller.

    Args:
        parent_id: the caller's ``previous_response_id``.
        given_of: the input of a steer, as the caller gave it.
        give: the id under which the caller gets a response, by the service's id of it.
        keeps_parent: the request went up with the ``previous_response_id`` of the caller, so that the one of
            the response stays: a service that ignored it says so there.
    """

    __slots__ = ("_give", "_given_of", "_keeps_parent", "_parent", "_shown")

    def __init__(
        self,
        parent_id: str | None,
        given_of: Callable[[Steer], Any] = lambda _: None,
        give: Callable[[str], str] = str,
        *,
        keeps_parent: bool = False,
    ) -> None:
        self._keeps_parent = keeps_parent
        self._parent = Raw(encode(parent_id))
        self._given_of = given_of
        self._give = give
        self._shown: dict[str, str] = {}  # the ids of the responses, by those of the service

    def shown(self, response_id: str) -> str:
        """The id under which the caller gets a response of this turn."""
        found = self._shown.get(response_id)
        if found is None:
            found = self._shown[response_id] = self._give(response_id) if response_id else response_id
        return found

    def event(self, event: ServerEvent) -> bytes:
        """An event as a server-sent event; empty for an event that the service did not send."""
        raw = event.raw
        if isinstance(event, ResponseEvent):
            output = event.response.encoded_output if event.kind.is_terminal else None
            return self.frame(event.type, raw, output)
        if event.kind is _STEER:
            return self._outcome(event)
        if isinstance(event, OutputItemDone):
            return _item_done(event)
        is_as_received = type(raw) is bytes
        if event.stream_id is None and event.sequence_number is not None and is_as_received:
            return _sse(event.wire_type, raw)
        if isinstance(raw, MadeFrame):
            return b""
        members = _members(raw)
        members.pop("stream_id", None)
        if not is_as_received:
            assert isinstance(event, Delta)
            members["delta"] = Raw(encode(event.delta))
        return _sse(event.wire_type, _joined(members))

    def _outcome(self, event: ServerEvent) -> bytes:
        """The outcome of a steer. One that would wait for the next request on its lane is handed back.

        That request may be sent on another lane. The lane of the steer gets none that names the response.
        """
        assert isinstance(event, SteerEvent)
        members, steer = _members(event.raw), event.steer
        members.pop("stream_id", None)
        if isinstance(event, SteerPending):
            members = {name: value for name, value in members.items() if name == "sequence_number"}
            members |= {"type": Raw(encode(SteerFailed.type)), "error": Raw(encode(_HANDED_BACK))}
        elif not isinstance(event, SteerFailed) or steer.input is not None:
            return _sse(event.wire_type, _joined(members))
        named = {"id": steer.id, "previous_response_id": steer.previous_response_id}
        named = {name: value for name, value in named.items() if value is not None}
        members["steer"] = Raw(encode({**named, "input": self._given_of(steer)}))
        return _sse(SteerFailed.type, _joined(members))

    def frame(self, wire_type: str, raw: bytes, output: Sequence[Raw] | None = None) -> bytes:
        """The frame of an event that may hold a response, as a server-sent event.

        Args:
            wire_type: the type of the event.
            raw: the frame.
            output: the output of the response, as `resource_in` takes it.
        """
        members = _members(raw)
        members.pop("stream_id", None)
        if "response" in members:
            members["response"] = Raw(_with_output(self.resource(bytes(members["response"])), output))
        return _sse(wire_type, _joined(members))

    def resource(self, raw: bytes) -> bytes:
        """A response resource."""
        if not raw.startswith(b"{"):
            return raw
        members = _members(raw)
        parent, response_id = _text(members, "previous_response_id"), _text(members, "id")
        changed = {}
        # The successor of a steered response, whose parent the caller knows. Some servers repeat ids.
        if parent in self._shown and parent != response_id:
            changed["previous_response_id"] = Raw(encode(self._shown[parent]))
        elif "previous_response_id" in members and not self._keeps_parent:
            changed["previous_response_id"] = self._parent
        if response_id and (shown := self.shown(response_id)) != response_id:
            changed["id"] = Raw(encode(shown))
        return _joined({**members, **changed}) if changed else raw

    def resource_in(self, raw: bytes, output: Sequence[Raw] | None = None) -> bytes:
        """The response resource in the frame of an event.

        Args:
            raw: the frame.
            output: the output as it was received, which the resource of some servers lacks in part, or has
                with calls twice; ``None`` or empty to keep that of the resource.
        """
        return _with_output(self.resource(bytes(_members(raw)["response"])), output)


def whole_failure(failed: bytes) -> list[tuple[str, bytes]]:
    """The events of a response that failed before its output: its beginning was held back, and is lost.

    Args:
        failed: the frame of ``response.failed``.
    """
    whole: dict[str, Any] = msgspec.json.decode(failed)
    begun = {**whole["response"], "status": "in_progress", "error": None, "output": [], "usage": None}
    made = [
        (name, encode({"type": name, "response": begun, "sequence_number": number}))
        for number, name in enumerate(("response.created", "response.in_progress"))
    ]
    return [*made, ("response.failed", failed)]


def _item_done(event: OutputItemDone) -> bytes:
    """A complete item; empty if the service did not send the event. A call is as in the final response."""
    raw = event.raw
    if isinstance(raw, MadeFrame):
        return b""
    members = _members(raw)
    if event.stream_id is None and members["item"] == event.encoded_item:
        return _sse(event.wire_type, raw)
    members.pop("stream_id", None)
    members["item"] = event.encoded_item
    return _sse(event.wire_type, _joined(members))


def _with_output(resource: bytes, output: Sequence[Raw] | None) -> bytes:
    if not output or not resource.startswith(b"{"):
        return resource
    members = _members(resource)
    try:
        if _decode_items(members.get("output", b"null")) == output:
            return resource
    except ValueError:  # no list
        pass
    return _joined({**members, "output": Raw(b"[%b]" % b",".join(output))})


def _members(raw: bytes) -> dict[str, Raw]:
    try:
        return _decode(raw)
    except ValueError:  # half surrogates
        return _decode(repaired(raw))


def _text(members: Mapping[str, Raw], name: str) -> str:
    """A member that is a string; empty for another one."""
    value = decode(members[name]) if name in members else None
    return value if isinstance(value, str) else ""


def _joined(members: Mapping[str, Raw]) -> bytes:
    return _encode(members)


def _sse(wire_type: str, data: bytes) -> bytes:
    if b"\n" in data or b"\r" in data:
        data = msgspec.json.format(data, indent=-1)
    if not wire_type.isprintable():
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (wire_type.encode(), data)


__all__ = ["KEEP_ALIVE", "Rewriting", "whole_failure"]
