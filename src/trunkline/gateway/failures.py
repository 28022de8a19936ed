"""Failures of answers, as callers learn of them: HTTP statuses, and ``error`` events of streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .._face.outcome import Answer, Break, Broken
from .._face.refusals import SHOULD_RETRY
from .._protocol.json import encode
from ..errors import SlowConsumer
from .refusal import Refused

_OF_ERRORS: Final = frozenset({"retry-after", "x-request-id", SHOULD_RETRY})
"""Headers of an answer that an ``error`` event repeats."""
_STATUS: Final = {
    Break.CONNECT: 503,
    Break.CONNECT_TIMEOUT: 503,
    Break.READ_TIMEOUT: 504,
    Break.PROTOCOL: 502,
}


def answer_to(broken: Broken, *, acts: bool = False) -> Answer:
    """The answer for a connection that broke before its answer began.

    Args:
        broken: the failure.
        acts: the request may have side effects, if the upstream got it.
    """
    status = _STATUS[broken.how]
    if status == 503:
        return Refused(status, str(broken), code="upstream_unavailable").answer()
    return Refused(status, str(broken), code="upstream_failed", is_final=acts).answer()


def cut_short(*, is_repeatable: bool) -> Refused:
    """The refusal of the rest of an answer for which the drain has no time.

    Args:
        is_repeatable: the caller has no output of the answer, and the request has no side effects.
    """
    words, code = "the gateway is shutting down, and drain.within_s is over", "gateway_shutting_down"
    if is_repeatable:
        return Refused(503, f"{words}; try again", code=code, retry_after_s=1.0)
    return Refused(504, f"{words}: the answer is incomplete", code=code, is_final=True)


def event_of_error(event: Mapping[str, Any]) -> bytes:
    """An ``error`` event as a server-sent event."""
    return b"event: error\ndata: %b\n\n" % encode(event)


def reason_of(broken: Broken) -> tuple[str, str]:
    """The code and the message of the error that ends a stream."""
    cause = broken.__cause__
    if isinstance(cause, SlowConsumer):
        return "slow_consumer", (
            f"{cause.buffered_bytes:,} bytes of the answer were not read, and bounds.unread_bytes allows "
            "fewer; read faster, or raise it"
        )
    return "upstream_failed", str(broken)


def event_of(broken: Broken) -> bytes:
    """The event that ends a stream whose connection broke after its head."""
    code, message = reason_of(broken)
    error = {"type": "error", "code": code, "message": message, "param": None}
    return event_of_error(error)


def error_event(answer: Answer, document: bytes) -> dict[str, Any]:
    """The ``error`` event for an HTTP answer that is an error.

    Args:
        answer: the answer.
        document: its body.
    """
    try:
        error = msgspec.json.decode(document)["error"]
    except (ValueError, KeyError, TypeError):
        error = {"type": "server_error", "code": None, "message": f"the upstream answered {answer.status}"}
    if isinstance(error, dict):
        named = {name: value for name, value in answer.headers if name in _OF_ERRORS}
        if named:
            error = {**error, "headers": named}
    return {"type": "error", "status": answer.status, "error": error}


__all__ = ["answer_to", "cut_short", "error_event", "event_of", "event_of_error", "reason_of"]
