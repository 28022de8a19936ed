"""The effect of faults on events and requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .._protocol.errors import ApiError, connection_limit_reached, type_of_status
from .._protocol.events import Event, error_event
from .._service.moves import HangUp, Move, Raw, Wait
from ..quirks.shapes import codex, flat
from .action import Action
from .fault import Fault

_encode = msgspec.json.Encoder().encode


def strike(moves: list[Move], event: Event, fault: Fault, lane: str | None) -> tuple[list[Move], bool]:
    """Return the moves that replace those of an event, and whether the response ends there."""
    action = Action(fault.action)
    if action in _ENDINGS:
        return _ENDINGS[action](fault, lane), True
    if action in _BEFORE:
        return [*_BEFORE[action](fault, lane), *moves], False
    return [new for move in moves for new in _changed_move(move, event, fault)], False


def rejection(fault: Fault) -> ApiError:
    """The error of a fault that refuses a request."""
    return ApiError(
        fault.message,
        status=fault.status,
        code=fault.code,
        type=type_of_status(fault.status),
        headers=fault.headers,
    )


def without_parent(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a request as a server takes it that ignores ``previous_response_id``."""
    return _without(body, ("previous_response_id",))


def _changed_move(move: Move, event: Event, fault: Fault) -> list[Move]:
    """A move after a fault that changes events. What another fault put before the event stays as it is."""
    if not isinstance(move, Event) or move.type not in (event.type, "error"):
        return [move]
    changed = _CHANGES[Action(fault.action)](move, fault)
    return [changed] * 2 if fault.action == Action.DUPLICATE else [changed]


def _limit(fault: Fault, lane: str | None) -> list[Move]:
    return [error_event(connection_limit_reached(), None), HangUp(1000)]


_ENDINGS: Mapping[Action, Callable[[Fault, str | None], list[Move]]] = {
    Action.DROP: lambda fault, lane: [HangUp()],
    Action.RESET: lambda fault, lane: [HangUp(reset=True)],
    Action.CLOSE: lambda fault, lane: [HangUp(fault.close_code)],
    Action.FAIL: lambda fault, lane: [error_event(rejection(fault), lane)],
    Action.CONNECTION_LIMIT: _limit,
}


def _unknown_event(fault: Fault, lane: str | None) -> list[Move]:
    kind = "response.emulator.unheard_of"
    fields: dict[str, Any] = {"type": kind, "detail": {"anything": [1, None, "x"]}}
    if lane is not None:
        fields["stream_id"] = lane
    return [Event(kind, _encode(fields))]


_BEFORE: Mapping[Action, Callable[[Fault, str | None], list[Move]]] = {
    Action.STALL: lambda fault, lane: [Wait(fault.seconds, fault.gate)],
    Action.DELAY: lambda fault, lane: [Wait(fault.seconds or 0.0)],
    Action.UNKNOWN_EVENT: _unknown_event,
}


def _changed(event: Event, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Event:
    return Event(event.type, _encode(change(msgspec.json.decode(event.data))))


def _padded(event: Event, fault: Fault) -> Event:
    missing = fault.size_bytes - len(event.data) - len(b',"padding":""')
    comma = b"" if event.data == b"{}" else b","
    return Event(event.type, event.data[:-1] + comma + b'"padding":"' + b"x" * max(missing, 0) + b'"}')


def _without(content: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


_CHANGES: Mapping[Action, Callable[[Event, Fault], Move]] = {
    Action.TRUNCATE: lambda event, fault: Raw(event.data[: len(event.data) // 2]),
    Action.CORRUPT: lambda event, fault: Raw(b"\x00garbage" + event.data[:-1]),
    Action.DUPLICATE: lambda event, fault: event,
    Action.FRAGMENT: lambda event, fault: Raw(event.data, fragments=3),
    Action.UNKNOWN_FIELD: lambda event, fault: _changed(
        event, lambda content: content | {"unheard_of": {"x": 1}}
    ),
    Action.OMIT: lambda event, fault: _changed(event, lambda content: _without(content, fault.fields)),
    Action.OVERSIZE: _padded,
    Action.FLAT_ERROR: lambda event, fault: flat(event),
    Action.CODEX_ERROR: lambda event, fault: codex(event),
}
