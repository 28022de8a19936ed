"""Fields of an error, in every spelling that servers use.

OpenAI nests the fields in ``error`` and puts ``status`` beside it. Other servers write them flat, in
``detail``, as a text, in a list, or with other names. A field may be missing, null or of another type; such a
field counts as missing. The tables below hold all spellings; where two are present, the innermost object
comes first, then the order of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from .json import JSON
from .quiet import QuietStruct

_CODE: Final = ("code", "error_code", "errorCode")
_MESSAGE: Final = ("message", "msg", "error", "detail", "error_message", "error_description", "title")
_TYPE: Final = ("type",)
_PARAM: Final = ("param",)
_REQUEST_ID: Final = ("request_id", "requestId")
_STATUS: Final = ("status", "status_code", "statusCode", "http_status")
_INNER: Final = ("error", "errors", "detail")
"""Names of the object that holds the fields."""
_BESIDE: Final = ("metadata",)
"""Names of an object beside the fields that may hold headers and waits."""
_HEADERS: Final = ("headers", "response_headers")
_SECONDS: Final = ("retry_after", "retry-after", "retryAfter", "retry_after_seconds", "resets_in_seconds")
_MILLISECONDS: Final = ("retry_after_ms", "retry-after-ms", "retryAfterMs")
_HEADERS_IN_MS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "apim-request-id", "x-ms-request-id")
WAITS: Final = frozenset({"retry-after", *_HEADERS_IN_MS})
"""Header fields with a wait."""
OF_ERRORS: Final = frozenset({*WAITS, "x-should-retry", *_REQUEST_ID_HEADERS})
"""Header fields that say something of an error."""
_MAX_DEPTH: Final = 4


class ErrorFields(QuietStruct, frozen=True):
    """The fields of an error; ``None`` for a missing one.

    Attributes:
        code: the code; numbers are written as text.
        message: the server's words.
        error_type: the type.
        param: the request field that the error names.
        status: the HTTP status.
        request_id: the id of the request.
        headers: the header fields that the error carries, with lower-case names. A wait in the body is there
            too, as ``retry-after`` or ``retry-after-ms``.
    """

    code: str | None = None
    message: str | None = None
    error_type: str | None = None
    param: str | None = None
    status: int | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = {}

    def retry_after_s(self, now: float) -> float | None:
        """The wait in seconds that the server requires; ``now`` is the time since the epoch."""
        return retry_after_s(self.headers, now=now)

    @property
    def should_retry(self) -> bool | None:
        """The server's own word on whether the request may be repeated: ``x-should-retry``."""
        return {"true": True, "false": False}.get(self.headers.get("x-should-retry", "").lower())


def read_error(source: object) -> ErrorFields:
    """The fields of an error, from an ``error`` event or the body of an HTTP answer, as plain JSON."""
    levels = _levels(source)
    code = _first(levels, _CODE, _code_or_none)
    status = _first(levels, _STATUS, _status_or_none)
    headers = _headers_of(levels)
    return ErrorFields(
        code=code,
        message=_first(levels, _MESSAGE, _text_or_none),
        # The outermost type of an event is its own: "error".
        error_type=_first(levels, _TYPE, lambda value: None if value == "error" else _text_or_none(value)),
        param=_first(levels, _PARAM, _text_or_none),
        # Some servers give the status as the code.
        status=status if status is not None else _status_or_none(code),
        request_id=next(
            (headers[name] for name in _REQUEST_ID_HEADERS if name in headers),
            _first(levels, _REQUEST_ID, _text_or_none),
        ),
        headers=headers,
    )


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, from headers: milliseconds, a number of seconds, or an HTTP date (RFC 9110, 10.2.3).

    ``None`` when the headers are missing or malformed.

    Args:
        headers: the headers, with lower-case names.
        now: the time, in seconds since the epoch, to which a date is compared.
    """
    for name in _HEADERS_IN_MS:
        milliseconds = _number_or_none(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number_or_none(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _levels(source: object) -> list[JSON]:
    """The nested objects that may hold fields, innermost first."""
    levels: list[JSON] = []
    while len(levels) < _MAX_DEPTH:
        if isinstance(source, list):
            source = source[0] if source else None
        if not isinstance(source, dict):
            break
        levels.append(source)
        source = next((source[name] for name in _INNER if isinstance(source.get(name), dict | list)), None)
    return levels[::-1]


def _first(levels: list[JSON], names: tuple[str, ...], read: Any) -> Any:
    values = (read(level.get(name)) for level in levels for name in names)
    return next((value for value in values if value is not None), None)


def _headers_of(levels: list[JSON]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for level in _with_neighbours(levels):
        for name in _HEADERS:
            found = level.get(name)
            for key, value in found.items() if isinstance(found, dict) else ():
                headers.setdefault(str(key).lower(), str(value))
        for names, header in ((_MILLISECONDS, "retry-after-ms"), (_SECONDS, "retry-after")):
            for name in names:
                if isinstance(level.get(name), str | int | float):
                    headers.setdefault(header, str(level[name]))
    return headers


def _with_neighbours(levels: list[JSON]) -> Iterator[JSON]:
    for level in levels:
        yield level
        for name in _BESIDE:
            if isinstance(level.get(name), dict):
                yield level[name]


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _code_or_none(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text_or_none(value)


def _status_or_none(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if 100 <= number <= 599 else None


def _number_or_none(value: str | None) -> float | None:
    matched = re.fullmatch(r"(\d{1,9}(?:\.\d*)?)s?", value) if value is not None else None
    return float(matched[1]) if matched is not None else None
