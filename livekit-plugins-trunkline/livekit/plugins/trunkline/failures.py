"""trunkline's errors as LiveKit's.

Who asks again? trunkline does what takes no time and nobody notices: after a lost parent, a limit of a
connection, a socket that died before any output, and over HTTP where WebSocket cannot be had. Everything that
takes waiting (an overloaded or failing service, time-outs, connections that cannot be made) is LiveKit's, by
``conn_options`` and `FallbackAdapter`. So the two never multiply.

``retryable`` tells LiveKit whether asking again can help and does no harm: nothing was said, and no tool of
the service may have acted.
"""

from __future__ import annotations

from typing import Any

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from trunkline import (
    DeadlineExceeded,
    NetworkError,
    Policy,
    ResponseFailed,
    ServiceError,
    TrunklineError,
    TurnError,
    UpgradeRefused,
)

AT_ONCE = Policy(waits=False)
"""How often trunkline itself asks again in LiveKit's pipeline."""


def livekit_error(error: TrunklineError, *, spoken: bool, acts: bool) -> APIError:
    """The error for LiveKit.

    Args:
        error: what happened.
        spoken: text or tool calls have been handed to LiveKit.
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


def _refused_upgrade(error: UpgradeRefused, harmless: bool) -> APIStatusError:
    return APIStatusError(
        str(error),
        status_code=error.status,
        request_id=error.headers.get("x-request-id"),
        body=error.body.decode(errors="replace") or None,
        retryable=harmless and (error.status == 429 or error.status >= 500),
    )


def _body(error: ServiceError) -> dict[str, Any]:
    """What the service said, in the shape of its HTTP errors."""
    if isinstance(error, ResponseFailed) and error.response is not None:
        said = error.response.get("error")
        if isinstance(said, dict):
            return said
    return {"message": str(error), "type": error.error_type, "param": error.param, "code": error.code}
