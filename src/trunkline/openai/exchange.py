"""Requests and responses of an HTTP library, as calls and answers.

The library is httpx2, which the openai SDK uses, or httpx, which has the same interface. It is an argument,
so that the caller's client gets responses and exceptions of its own library.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .._face.call import Call, Timeouts, is_own
from .._face.outcome import Answer, Broken, Elsewhere
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


def exception_of(httpx: ModuleType, broken: Broken, request: Any) -> Exception:
    """The exception of the library for a broken connection."""
    kind = getattr(httpx, broken.how.value)
    error: Exception = kind(str(broken), request=request)
    return error


__all__ = ["call_of", "exception_of", "forwarded", "may_be_create", "response_of"]
