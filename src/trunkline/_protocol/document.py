"""An HTTP answer that is no event stream, as the frame that a socket would bring.

Pure. Servers answer with a document instead of events when they refuse a request, and some do so with status
200: a whole response, an error object, or a page of a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .error_fields import OF_ERRORS, WAITS, read_error
from .json import decode, encode

_OK: Final = 200
MAX_WORDS: Final = 300
_TERMINAL: Final = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}
_find_title: Final = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL).search


def document_frame(content: bytes, status: int, headers: Mapping[str, str]) -> bytes:
    """The terminal event of a response, or an ``error`` event with the words of the server.

    Args:
        content: the body, or its beginning.
        status: the HTTP status. A status of 200 is not a part of the event, because it is not the error's.
        headers: the header fields of the answer.
    """
    value = _json(content)
    is_ok = status == _OK
    if is_ok and isinstance(value, dict) and _is_response(value):
        return encode({"type": _TERMINAL[value["status"]], "response": value})
    error = _error_in(value)
    if not error["message"] and value is None and content.lstrip()[:1] not in (b"<", b"[", b"{"):
        error["message"] = _words(content)
    if not error["message"]:
        error["message"] = f"HTTP status {status}" + (_described(content, value) if is_ok else "")
    error["headers"] = dict(headers)
    event: dict[str, Any] = {"type": "error", "error": error}
    if not is_ok:
        event["status"] = status
    return encode(event)


def with_head(frame: bytes, headers: Mapping[str, str]) -> bytes:
    """The error of a stream, with what the head of its HTTP answer says of it.

    Some servers name the wait in the head, before they know that the response fails. What the error itself
    says comes first.

    Args:
        frame: an ``error`` event or a failed response.
        headers: the header fields of the answer, with lower-case names.
    """
    value = _json(frame)
    found = value.get("headers") if isinstance(value, dict) else None
    response = value.get("response") if isinstance(value, dict) else None
    own = {**read_error(response).headers, **read_error(value).headers}
    names = OF_ERRORS if own.keys().isdisjoint(WAITS) else OF_ERRORS - WAITS
    more = {name: headers[name] for name in sorted(names) if name in headers and name not in own}
    if not more or not isinstance(value, dict):
        return frame
    return encode({**value, "headers": {**(found if isinstance(found, dict) else {}), **more}})


def _is_response(value: dict[str, Any]) -> bool:
    is_whole = value.get("object") == "response" or isinstance(value.get("output"), list)
    return is_whole and isinstance(value.get("status"), str) and value["status"] in _TERMINAL


def _error_in(value: Any) -> dict[str, Any]:
    """The error object in an answer, with the code and the words wherever the server put them."""
    found = value.get("error", value) if isinstance(value, dict) else None
    error = dict(found) if isinstance(found, dict) else {}
    fields = read_error(value)
    # The server's own spelling of the code stays, a number for example.
    error.setdefault("code", fields.code)
    error["message"] = fields.message or (value if isinstance(value, str) else None)
    return error


def _described(content: bytes, value: Any) -> str:
    """What an answer with status 200 is, if it is neither a response nor an error."""
    if isinstance(value, dict) and _is_pending(value):
        return f" with a response that has no end (status {value['status']!r}) instead of events"
    if value is not None:
        return " with JSON that is not a response instead of events; check base_url"
    title = _find_title(content)
    named = f" ({_words(title[1])})" if title is not None else ""
    return f" with a page{named} instead of events; check base_url and the proxy"


def _is_pending(value: dict[str, Any]) -> bool:
    return value.get("object") == "response" and isinstance(value.get("status"), str)


def _words(content: bytes) -> str:
    return " ".join(content[: 4 * MAX_WORDS].decode("utf-8", "replace").split())[:MAX_WORDS]


def _json(content: bytes) -> Any:
    try:
        return decode(content)
    except (ValueError, RecursionError):
        return None


__all__ = ["MAX_WORDS", "document_frame", "with_head"]
