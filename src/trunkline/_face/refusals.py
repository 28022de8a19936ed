"""Exceptions of a turn as an HTTP client expects them: as an answer, or as a broken connection.

====================================================  ==================================================
exception                                             HTTP
====================================================  ==================================================
``ResponseRefused``                                   its status; without one 503 if it may pass, else 400
``UpgradeRefused``                                    the answer to the upgrade
``ConnectFailed``                                     ``ConnectError``
``DeadlineExceeded`` while connecting                 ``ConnectTimeout``
``DeadlineExceeded`` later                            ``ReadTimeout``; 504 if the request may have acted
``ConnectionLost``, ``ProtocolViolation``             ``RemoteProtocolError``; 502 if the request may have
                                                      acted
====================================================  ==================================================

Clients repeat a request after a broken connection, 429 or 5xx. ``x-should-retry: false`` keeps them from
repeating one whose hosted tools may have acted: its response had begun, or is unknown.
"""

from __future__ import annotations

from typing import Any, Final

from .._protocol.json import decode, encode
from ..errors import (
    ConnectFailed,
    DeadlineExceeded,
    ResponseRefused,
    ServiceError,
    TurnError,
    UpgradeRefused,
)
from .call import Header
from .outcome import Answer, Break, Broken

JSON_TYPE: Final[Header] = ("content-type", "application/json")
SHOULD_RETRY: Final = "x-should-retry"
"""The header with which a server tells clients whether to repeat a request."""
UNKNOWN_STATUSES: Final = (502, 504)
"""Statuses after which a request may have been executed: a server on the way lost the one behind it."""
_NOT_PASSED_ON: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding", "upgrade"}
)
_ANSWER_HEADERS: Final = frozenset({"headers"})


def refused(error: TurnError, raw: bytes, *, acts: bool) -> Answer | Broken:
    """What a client gets for a turn that failed before its answer began.

    Args:
        error: the exception.
        raw: the ``error`` event of a `ResponseRefused`, as received.
        acts: the request may have side effects.
    """
    if isinstance(error, ResponseRefused):
        return _of_service(error, raw, acts=acts)
    if isinstance(error, UpgradeRefused):
        headers = [(name, value) for name, value in error.headers.items() if name not in _NOT_PASSED_ON]
        return Answer(error.status, tuple(headers), error.body)
    is_late = isinstance(error, DeadlineExceeded)
    if error.sent and acts:
        return unknown(504 if is_late else 502, str(error))
    return broken(error)


def broken(error: TurnError) -> Broken:
    """The broken connection that a client gets for a failure."""
    if isinstance(error, ConnectFailed):
        how = Break.CONNECT
    elif isinstance(error, DeadlineExceeded):
        how = Break.CONNECT_TIMEOUT if error.phase == "connect" else Break.READ_TIMEOUT
    else:
        how = Break.PROTOCOL
    return Broken(str(error), how)


def unknown(status: int, message: str) -> Answer:
    """The answer where a request with side effects may have been executed: clients must not repeat it."""
    error = {"message": message, "type": "server_error", "param": None, "code": None}
    return Answer(status, (JSON_TYPE, (SHOULD_RETRY, "false")), encode({"error": error}))


def invalid_request(message: str, param: str, code: str | None = None) -> Answer:
    """The answer to a request that is wrong in itself."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Answer(400, (JSON_TYPE,), encode({"error": error}))


def parent_not_found(response_id: str) -> Answer:
    """The answer of the service to a ``previous_response_id`` that it does not have."""
    message = f"Previous response with id {response_id!r} not found."
    return invalid_request(message, "previous_response_id", "previous_response_not_found")


def _of_service(error: ServiceError, raw: bytes, *, acts: bool) -> Answer:
    headers = [JSON_TYPE]
    if error.retry_after_s is not None:
        headers.append(("retry-after", f"{error.retry_after_s:g}"))
    if error.request_id is not None:
        headers.append(("x-request-id", error.request_id))
    should_retry = error.should_retry
    if should_retry is None and acts and error.started:
        should_retry = False
    if should_retry is not None:
        headers.append((SHOULD_RETRY, "true" if should_retry else "false"))
    status = error.status
    if status is None or not 400 <= status <= 599:
        status = 503 if error.is_transient else 400
    return Answer(status, tuple(headers), encode({"error": _error_in(raw, error)}))


def _error_in(raw: bytes, error: ServiceError) -> dict[str, Any]:
    """The error object as the service sent it."""
    try:
        event = decode(raw)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        found = event.get("error")
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if name not in _ANSWER_HEADERS}
        if "message" in event:
            return {name: event.get(name) for name in ("message", "type", "param", "code")} | {
                "type": error.error_type
            }
    return {"message": str(error), "type": error.error_type, "param": None, "code": error.code}


__all__ = [
    "JSON_TYPE",
    "SHOULD_RETRY",
    "UNKNOWN_STATUSES",
    "broken",
    "invalid_request",
    "parent_not_found",
    "refused",
    "unknown",
]
