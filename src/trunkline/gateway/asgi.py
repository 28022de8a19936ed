"""Types of ASGI, and the reading of its scopes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from .._face.call import Header
from .._face.outcome import Answer
from .._network.gateways import GATEWAY_MARK

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


MARK: Final = (GATEWAY_MARK.encode(), b"1")
"""The header by which clients recognise a gateway."""


class Disconnected(Exception):
    """The caller has gone."""


def headers_of(scope: Scope) -> list[Header]:
    """The header fields of a request, with names in lower case."""
    return [
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope.get("headers", ())
    ]


def path_of(scope: Scope) -> str:
    """The path of a request below the place where the application is mounted, without a trailing slash."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).rstrip("/") or "/"


def raw_path_of(scope: Scope) -> str:
    """The same with its percent signs, as it came."""
    given = scope.get("raw_path")
    path = quote(scope["path"]) if given is None else given.partition(b"?")[0].decode("latin-1")
    return path.removeprefix(quote(scope.get("root_path", ""))).rstrip("/") or "/"


def query_of(scope: Scope) -> str:
    """The query of a request with its question mark; empty without one."""
    query = scope.get("query_string", b"").decode("latin-1")
    return f"?{query}" if query else ""


def start_of(status: int, headers: tuple[Header, ...] | list[Header]) -> Message:
    """The beginning of an HTTP answer."""
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def send_whole(send: Send, answer: Answer, *, closes: bool = False) -> None:
    """Send an answer whose body is known.

    Args:
        send: the callable of ASGI.
        answer: the answer.
        closes: ask the caller to open another connection for its next request.
    """
    assert isinstance(answer.body, bytes)
    headers = [*answer.headers, ("content-length", str(len(answer.body)))]
    if closes:
        headers.append(("connection", "close"))
    await send(start_of(answer.status, headers))
    await send({"type": "http.response.body", "body": answer.body})


__all__ = [
    "MARK",
    "Disconnected",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "headers_of",
    "path_of",
    "query_of",
    "raw_path_of",
    "send_whole",
    "start_of",
]
