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

_RETRY_AFTER = "retry-after"


def bare(event: Event) -> Event:
    """An ``error`` event without code and status."""
    content = _decoded(event)
    content.pop("status", None)
    return _event(content | {"error": _fields(content) | {"code": None}})


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


def reason_after(event: Event) -> tuple[Event, Event]:
    """A ``response.failed`` whose error is null, and the ``error`` event that has it."""
    content = _decoded(event)
    response = content["response"]
    reason = {"type": "error", "sequence_number": content["sequence_number"] + 1}
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
    return dict(nested or {name: content.pop(name, None) for name in ("code", "message", "param")})


def _event(content: dict[str, Any]) -> Event:
    return Event("error", _encode(content))
