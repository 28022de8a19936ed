"""Requests and responses of an HTTP library, as calls and answers.

The library is httpx2, which the openai SDK uses, or httpx, which has the same interface. It is an argument,
so that the caller's client gets responses and exceptions of its own library.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from .._face.call import Call, Timeouts, is_own
from .._face.outcome import Answer, Broken, Elsewhere
from .._face.refusals import SHOULD_RETRY, UNKNOWN_STATUSES, unknown
from .._network.gateways import KEY_HEADER


def may_be_create(request: Any) -> bool:
    """Whether the body of a request is needed to decide what becomes of it."""
    path: str = request.url.path
    return request.method == "POST" and path.rstrip("/").endswith("/responses")


def call_of(request: Any, body: bytes | None) -> Call:
    """The call that a request is.

    Args:
        request: a request of the library.
        body: its body; ``None`` if it was not read.
    """
    timeout = request.extensions.get("timeout", {})
    return Call(
        request.method.upper(),
        str(request.url),
        list(request.headers.multi_items()),
        body,
        Timeouts(timeout.get("connect"), timeout.get("read")),
    )


def forwarded(httpx: ModuleType, request: Any, elsewhere: Elsewhere, key: str | None = None) -> Any:
    """The request for the HTTP transport: the caller's, without our headers, or with another body.

    Args:
        httpx: the library.
        request: the caller's request.
        elsewhere: the other body.
        key: the hashed key of its conversation, for a gateway.
    """
    if elsewhere.body is None and key is None and not any(is_own(name) for name in request.headers):
        return request
    headers = [(name, value) for name, value in request.headers.multi_items() if not is_own(name)]
    if key is not None:
        headers.append((KEY_HEADER, key))
    content: Any = {"stream": request.stream}
    if elsewhere.body is not None:
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        content = {"content": elsewhere.body}
    return httpx.Request(
        request.method, request.url, headers=headers, extensions=request.extensions, **content
    )


def response_of(httpx: ModuleType, answer: Answer, stream: Any) -> Any:
    """A response of the library.

    Args:
        httpx: the library.
        answer: the answer.
        stream: the body of a streamed answer, as the library takes it.
    """
    content = {"content": answer.body} if isinstance(answer.body, bytes) else {"stream": stream}
    return httpx.Response(
        answer.status, headers=list(answer.headers), extensions={"http_version": b"HTTP/1.1"}, **content
    )


_UNKNOWN: Final = {"ReadError": 502, "RemoteProtocolError": 502, "CloseError": 502, "ReadTimeout": 504}
"""Exceptions of the library after which a request may have been executed, and the HTTP status for each."""


def whole(httpx: ModuleType, response: Any, content: bytes) -> Any:
    """The same response with a body that was read."""
    return httpx.Response(
        response.status_code,
        headers=response.headers.multi_items(),
        content=content,
        extensions=response.extensions,
    )


def answered_elsewhere(elsewhere: Elsewhere, response: Any) -> Any:
    """The response for the client, which must not repeat a request that may have side effects.

    A gateway or a balancer that lost its server does not know whether the request was executed.
    """
    if elsewhere.acts and response.status_code in UNKNOWN_STATUSES:
        response.headers.setdefault(SHOULD_RETRY, "false")
    return response


def failed_elsewhere(httpx: ModuleType, elsewhere: Elsewhere, error: Exception) -> Any:
    """The response for an exception of the HTTP transport, if the request may have had side effects.

    Raises:
        Exception: the given one, if it had none.
    """
    status = _UNKNOWN.get(type(error).__name__) if elsewhere.acts else None
    if status is None:
        raise error
    message = str(error) or "the connection broke before the response was complete"
    return response_of(httpx, unknown(status, message), None)


def exception_of(httpx: ModuleType, broken: Broken, request: Any) -> Exception:
    """The exception of the library for a broken connection."""
    kind = getattr(httpx, broken.how.value)
    error: Exception = kind(str(broken), request=request)
    return error


__all__ = [
    "answered_elsewhere",
    "call_of",
    "exception_of",
    "failed_elsewhere",
    "forwarded",
    "may_be_create",
    "response_of",
    "whole",
]
