"""Error events and failed responses, read into a `Failure`, and the codes with a meaning of their own.

Servers give these codes other names. A `Failure` keeps the server's code; the sets hold all names of one
meaning. Whether an error is transient is a fact of the exception, see `ServiceError.is_transient`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ..errors import QUOTA_CODES
from .error_fields import ErrorFields, read_error
from .events import ErrorEvent, ResponseFailedEvent
from .failure import Failure, FailureKind

CONNECTION_LIMIT: Final = "websocket_connection_limit_reached"
LIMITS: Final = frozenset({CONNECTION_LIMIT, "websocket_stream_limit_reached"})
"""The connection takes no more requests, or no more lanes."""
PARENT_LOST: Final = frozenset({"previous_response_not_found", "codex_previous_response_stale"})
"""The server does not have the ``previous_response_id`` of the request."""

_REASONS: Final = ("error", "last_error", "status_details")
"""Names of the object with the reason of a failed response."""
_PARENT_PARAMS: Final = frozenset({"previous_response_id", "response_id"})
_PARENT_WORDS: Final = re.compile(
    r"previous[_ -]?response|response not found|response with id", re.IGNORECASE
)


_ITEM_WORDS: Final = re.compile(
    r"\bitems?\b.{0,200}?(not found|does not exist|required following item)", re.IGNORECASE | re.DOTALL
)


def concerns_item(failure: Failure) -> bool:
    """Whether a request was refused because it names an item by an id that the service does not have.

    The service keeps such items for a time, or not at all. The second form of the message concerns reasoning
    whose answer is not in the request.
    """
    return failure.status in (None, 400, 404) and _ITEM_WORDS.search(failure.message) is not None


def may_concern_parent(failure: Failure) -> bool:
    """Whether a request that named a parent may have been refused because of it.

    Servers that know no parents refuse them in words of their own, so every refusal may, except for one that
    may pass and one that concerns the account.
    """
    if failure.param in _PARENT_PARAMS or _PARENT_WORDS.search(failure.message):
        return True
    names = {name.lower() for name in (failure.code, failure.error_type) if name}
    return failure.kind is FailureKind.REFUSED and not failure.is_transient and names.isdisjoint(QUOTA_CODES)


def refusal(event: ErrorEvent, *, started: bool, now: float) -> Failure:
    """The failure that an ``error`` event reports.

    Args:
        event: the event.
        started: the response had begun.
        now: the time, in seconds since the epoch, to which a ``retry-after`` date is compared.
    """
    fields = event.fields
    return Failure(
        kind=FailureKind.REFUSED,
        message=f"the service refused the request: {event.message}",
        code=fields.code,
        status=fields.status,
        error_type=fields.error_type,
        param=fields.param,
        retry_after_s=fields.retry_after_s(now),
        should_retry=fields.should_retry,
        request_id=fields.request_id,
        raw=event.raw,
        sent=True,
        started=started,
    )


def failed_response(event: ResponseFailedEvent, *, now: float = 0.0) -> Failure:
    """The failure that ``response.failed`` reports.

    Args:
        event: the event.
        now: as for `refusal`.
    """
    fields = _fields_of(event)
    return Failure(
        kind=FailureKind.FAILED,
        message=f"the response failed: {_reason(fields) or 'the service gave no reason'}",
        response=event.json()["response"],
        code=fields.code,
        status=fields.status,
        error_type=fields.error_type,
        retry_after_s=fields.retry_after_s(now),
        should_retry=fields.should_retry,
        response_id=event.response.id,
        raw=event.raw,
        sent=True,
        started=True,
    )


def is_unexplained(event: ResponseFailedEvent | ErrorEvent) -> bool:
    """Whether a failed response, or an error, has no reason. It may follow in another event."""
    fields = event.fields if isinstance(event, ErrorEvent) else _fields_of(event)
    return _reason(fields) is None and fields.error_type is None and fields.status is None


def explained(failure: Failure, reason: Failure) -> Failure:
    """The failure of a response that failed without a reason, with the reason that followed."""
    words = reason.message.partition(": ")[2]
    return replace(
        failure,
        message=f"the response failed: {words}",
        code=reason.code,
        status=reason.status,
        error_type=reason.error_type,
        retry_after_s=failure.retry_after_s if reason.retry_after_s is None else reason.retry_after_s,
        should_retry=failure.should_retry if reason.should_retry is None else reason.should_retry,
        raw=reason.raw,
    )


def _fields_of(event: ResponseFailedEvent) -> ErrorFields:
    """The reason of a failed response, from the first place that has one; headers stand beside it."""
    source = event.json()
    response = source["response"]
    headers, without = source.get("headers"), read_error({"headers": source.get("headers")})
    for found in (*map(response.get, _REASONS), *map(source.get, _REASONS)):
        fields = read_error({"headers": headers, "error": found})
        if _reason(fields) is not None or fields.error_type is not None or fields.status is not None:
            return fields
    return without


def _reason(fields: ErrorFields) -> str | None:
    return fields.message or fields.code
