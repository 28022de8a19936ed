"""Error events and failed responses, read into a `Failure`.

Fields of errors may be missing, null or of another type; such a field counts as missing.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from .events import ErrorEvent, ResponseFailedEvent
from .failure import Failure, FailureKind


def refusal(event: ErrorEvent, *, started: bool, now: float) -> Failure:
    """The failure that an ``error`` event reports.

    Args:
        event: the event.
        started: the response had begun.
        now: the time, in seconds since the epoch, to which a ``retry-after`` date is compared.
    """
    body, headers = event.body, event.headers
    return Failure(
        kind=FailureKind.REFUSED,
        message=f"the service refused the request: {event.message}",
        code=event.code,
        status=event.status if isinstance(event.status, int) else None,
        error_type=_text(body.type),
        param=_text(body.param),
        retry_after_s=retry_after_s(headers.get("retry-after"), now=now),
        request_id=headers.get("x-request-id"),
        sent=True,
        started=started,
    )


def failed_response(event: ResponseFailedEvent) -> Failure:
    """The failure that ``response.failed`` reports."""
    error = event.response.error or {}
    code = error.get("code")
    return Failure(
        kind=FailureKind.FAILED,
        message=f"the response failed: {error.get('message') or code or 'the service gave no reason'}",
        response=event.json()["response"],
        code=_text(code),
        response_id=event.response.id,
        sent=True,
        started=True,
    )


def retry_after_s(value: str | None, *, now: float) -> float | None:
    """Seconds to wait, from a ``retry-after`` header: a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    ``None`` when the header is missing or malformed.
    """
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d*)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
