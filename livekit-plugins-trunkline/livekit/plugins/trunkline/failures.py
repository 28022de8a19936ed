"""Conversion of trunkline's errors to LiveKit's.

trunkline makes the retries that need no delay: after an evicted parent, a connection limit or a connection
lost before any output, and over HTTP if WebSocket is unavailable. LiveKit makes the retries that need a
delay, by ``conn_options`` and `FallbackAdapter`: after an overloaded or failing service, a time-out or a
failed connection. So retries never multiply.

``retryable`` is true if a retry can succeed and is safe: LiveKit has received no output, and no tool of the
service may have acted.
"""

from __future__ import annotations

from typing import Any

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from trunkline import (
    DeadlineExceeded,
    NetworkError,
    Policy,
    Response,
    ResponseFailed,
    ServiceError,
    TrunklineError,
    TurnError,
    UpgradeRefused,
)

AT_ONCE = Policy(waits=False)
"""trunkline's retry policy in LiveKit's pipeline: only immediate retries."""


def livekit_error(error: TrunklineError, *, spoken: bool, acts: bool) -> APIError:
    """Return the LiveKit error for an error of trunkline.

    Args:
        error: the error of trunkline.
        spoken: LiveKit has received text or tool calls.
        acts: tools of the service may have acted.
    """
    if not isinstance(error, TurnError):
        return APIError(str(error), retryable=False)
    harmless = not spoken and not (acts and error.sent)
    if isinstance(error, ServiceError):
        return APIStatusError(
            str(error),
            status_code=error.status or -1,
            request_id=error.request_id,
            body=_body(error),
            retryable=harmless and error.is_transient,
        )
    if isinstance(error, UpgradeRefused):
        return _refused_upgrade(error, harmless)
    if isinstance(error, DeadlineExceeded):
        return APITimeoutError(str(error), retryable=harmless and error.phase != "total")
    return APIConnectionError(str(error), retryable=harmless and isinstance(error, NetworkError))


def no_output(response: Response, *, acts: bool) -> APIError:
    """The error for an answer without text and tool calls, so that `FallbackAdapter` takes the next LLM.

    An incomplete answer is not retried: the same limit would end it again.
    """
    if response.status != "incomplete":
        return APIError(f"the response {response.id} is empty", retryable=not acts)
    reason = (response.incomplete_details or {}).get("reason") or "no reason given"
    message = f"the response {response.id} is incomplete ({reason}) and has no output"
    if reason == "max_output_tokens":
        message += "; raise max_output_tokens"
    return APIError(message, retryable=False)


def late_output(limit_s: float, *, acts: bool) -> APITimeoutError:
    """The error for a request without output within ``conn_options.timeout``."""
    return APITimeoutError(
        f"no output within {limit_s:g} s; raise conn_options.timeout if the model needs longer",
        retryable=not acts,
    )


def _refused_upgrade(error: UpgradeRefused, harmless: bool) -> APIStatusError:
    return APIStatusError(
        str(error),
        status_code=error.status,
        request_id=error.headers.get("x-request-id"),
        body=error.body.decode(errors="replace") or None,
        retryable=harmless and (error.status == 429 or error.status >= 500),
    )


def _body(error: ServiceError) -> dict[str, Any]:
    """The service's error, in the format of its HTTP errors."""
    if isinstance(error, ResponseFailed) and error.response is not None:
        said = error.response.get("error")
        if isinstance(said, dict):
            return said
    message = error.args[0]  # without the status and code that `str` adds
    return {"message": message, "type": error.error_type, "param": error.param, "code": error.code}
