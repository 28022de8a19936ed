"""Requests to the upstream over HTTP: those that no WebSocket can carry, and other endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import httpx2

from .._face.call import Header, is_own
from .._face.outcome import Break, Broken

_CONNECT_S: Final = 10.0
_READ_S: Final = 600.0
"""The silence of an answer. Callers with a shorter limit of their own leave earlier."""
_OF_ONE_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_GOES_UP: Final = frozenset(
    {
        "accept",
        "api-key",
        "authorization",
        "content-type",
        "idempotency-key",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-client-request-id",
    }
)
"""The headers of callers that go up. With a key of the gateway, those about credentials do not."""
_CREDENTIALS: Final = frozenset({"api-key", "authorization", "openai-organization", "openai-project"})


def upward_headers(headers: Sequence[Header], credentials: Sequence[Header]) -> list[Header]:
    """The headers of a request upward.

    Args:
        headers: those of the caller, with names in lower case.
        credentials: those of the gateway's own key; empty to pass on the caller's.
    """
    found = [
        (name, value)
        for name, value in headers
        if name in _GOES_UP and not is_own(name) and not (credentials and name in _CREDENTIALS)
    ]
    return [*found, *credentials]


class Upward:
    """An HTTP client of one upstream. Made when it is needed."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self, method: str, url: str, headers: Sequence[Header], body: bytes | AsyncIterator[bytes] | None
    ) -> httpx2.Response:
        """Send a request; the body of the answer is not read yet, and the answer must be closed.

        Raises:
            Broken: the upstream was not reached, or the connection broke.
        """
        if self._client is None:
            timeout = httpx2.Timeout(_READ_S, connect=_CONNECT_S, pool=None)
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
            self._client = httpx2.AsyncClient(timeout=timeout, limits=limits)
        request = self._client.build_request(method, url, headers=list(headers), content=body)
        try:
            return await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            raise _broken(error) from error

    async def close(self) -> None:
        """Close its connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def headers_down(response: httpx2.Response) -> list[Header]:
    """The headers of an answer that its caller gets."""
    return [
        (name.lower(), value)
        for name, value in response.headers.multi_items()
        if name.lower() not in _OF_ONE_CONNECTION
    ]


async def chunks_of(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The body of an answer as it comes, decompressed.

    Raises:
        Broken: the connection ended before the body.
    """
    try:
        async for chunk in response.aiter_bytes():
            if chunk:
                yield chunk
    except httpx2.TransportError as error:
        raise _broken(error) from error
    finally:
        await response.aclose()


def _broken(error: httpx2.TransportError) -> Broken:
    if isinstance(error, httpx2.ConnectTimeout):
        how = Break.CONNECT_TIMEOUT
    elif isinstance(error, httpx2.ConnectError):
        how = Break.CONNECT
    elif isinstance(error, httpx2.TimeoutException):
        how = Break.READ_TIMEOUT
    else:
        how = Break.PROTOCOL
    return Broken(f"the upstream failed: {type(error).__name__}", how)


__all__ = ["Upward", "chunks_of", "headers_down", "upward_headers"]
