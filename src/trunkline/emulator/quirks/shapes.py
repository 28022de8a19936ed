"""Error events and failures in the shapes of other servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .._protocol.events import Event

_encode = msgspec.json.Encoder().encode

CODEX_CODES = {
    "previous_response_not_found": "codex_previous_response_stale",
    "server_error": "stream_incomplete",
}
"""Codes that proxies in the manner of Codex rename."""

_FLAT = ("code", "message", "param")
_RETRY_AFTER = "retry-after"


def bare(event: Event) -> Event:
    """An ``error`` event without code and status."""
    content = _decoded(event)
    content.pop("status", None)
    return _event(content | {"error": _fields(content) | {"code": None}})


def flat(event: Event) -> Event:
    """An ``error`` event of older servers, with the fields of its error at its top level."""
    content = _decoded(event)
    lane = {"stream_id": content["stream_id"]} if "stream_id" in content else {}
    fields = _fields(content)
    return _event({"type": "error", "sequence_number": 0} | {name: fields.get(name) for name in _FLAT} | lane)


def codex(event: Event) -> Event:
    """An ``error`` event with ``status_code``, a renamed code, and headers at its top level."""
    content = _decoded(event)
    fields = _fields(content)
    if "status" in content:
        content["status_code"] = content.pop("status")
    headers = fields.pop("headers", None)
    if headers:
        content["headers"] = headers
    return _event(content | {"error": fields | {"code": renamed(fields.get("code"))}})


def renamed(code: str | None) -> str | None:
    """A code as a proxy in the manner of Codex names it."""
    return code if code is None else CODEX_CODES.get(code, code)


def waits_in_milliseconds(event: Event) -> Event:
    """An ``error`` event whose headers name the wait in milliseconds."""
    content = _decoded(event)
    fields = _fields(content)
    if "headers" not in fields:
        return event
    return _event(content | {"error": fields | {"headers": in_milliseconds(fields["headers"])}})


def in_milliseconds(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with ``retry-after-ms`` for ``retry-after``; a date stays as it is."""
    found = dict(headers)
    for name, value in headers.items():
        if name.lower() == _RETRY_AFTER and value.replace(".", "", 1).isdigit():
            del found[name]
            found["retry-after-ms"] = str(round(float(value) * 1000))
    return found


def reason_after(event: Event) -> tuple[Event, ...]:
    """A ``response.failed`` whose error is null, and the ``error`` event that has it.

    An event from which a fault has removed the response stays as it is.
    """
    content = _decoded(event)
    if "response" not in content:
        return (event,)
    response = content["response"]
    reason: dict[str, Any] = {"type": "error"}
    if "sequence_number" in content:
        reason["sequence_number"] = content["sequence_number"] + 1
    if "stream_id" in content:
        reason["stream_id"] = content["stream_id"]
    error = response["error"] | {"type": response["error"]["code"], "param": None}
    failed = content | {"response": response | {"error": None}}
    return Event(event.type, _encode(failed)), _event(reason | {"error": error})


def _decoded(event: Event) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(event.data)
    return content


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    """Remove and return the fields of an error, which a fault may have moved to the top level."""
    nested = content.pop("error", None)
    return dict(nested or {name: content.pop(name, None) for name in _FLAT})


def _event(content: dict[str, Any]) -> Event:
    return Event("error", _encode(content))
