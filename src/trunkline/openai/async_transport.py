"""Transport for asynchronous clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import cache
from types import ModuleType
from typing import Any, Unpack

import httpx2

from .._face.call import Call
from .._face.outcome import Answer, Broken, Chunks, Elsewhere
from .._observe.metrics import PoolMetrics, PoolState
from .exchange import (
    answered_elsewhere,
    call_of,
    exception_of,
    failed_elsewhere,
    forwarded,
    may_be_create,
    response_of,
    whole,
)
from .inner import InnerTransports
from .options import Options, door_of


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Answers ``POST …/responses`` over warm WebSockets; all other requests go over HTTP.

    For ``httpx2.AsyncClient(transport=…)``, or for that of httpx. Transports with equal URLs, headers and
    options share sockets. Under an event loop other than asyncio's all requests go over HTTP.

    Args:
        httpx: the HTTP library of the client: the module ``httpx2`` or ``httpx``.
        inner: the transport for HTTP. Default: one with the proxies and authorities of the environment.
            With a transport of your own, WebSockets are used only if ``proxy`` or ``ssl_context`` is given
            as well.
        options: see `Options`.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(self, httpx: ModuleType = httpx2, *, inner: Any = None, **options: Unpack[Options]) -> None:
        self._httpx = httpx
        self._door = door_of(options, has_inner=inner is not None)
        self._inner = InnerTransports(httpx, "AsyncHTTPTransport", inner, options)

    @property
    def metrics(self) -> PoolMetrics:
        """The counters of its sockets, which other transports may share."""
        return self._door.metrics

    def state(self) -> PoolState:
        """Its sockets, lanes and running turns at this moment."""
        return self._door.state()

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request. Cancelling leaves the answer."""
        call = call_of(request, await request.aread() if may_be_create(request) else None)
        try:
            outcome = await self._door.take(call)
        except Broken as broken:
            raise exception_of(self._httpx, broken, request) from broken
        if isinstance(outcome, Elsewhere):
            return await self._forward(call, request, outcome)
        return response_of(self._httpx, outcome, self._stream_of(outcome, request))

    async def _forward(self, call: Call, request: Any, elsewhere: Elsewhere) -> Any:
        inner = self._inner.for_url(call.url)
        key = self._door.hashed_key(call)
        try:
            response = await inner.handle_async_request(forwarded(self._httpx, request, elsewhere, key))
            self._door.answered(call, response.headers)
            if elsewhere.is_read_at_once:
                async with aclosing(response):
                    content = b"".join([chunk async for chunk in response.stream])
                response = whole(self._httpx, response, content)
        except self._httpx.TransportError as error:
            return failed_elsewhere(self._httpx, elsewhere, error)
        if call.method == "DELETE" and response.status_code < 300:
            self._door.deleted(call)
        return answered_elsewhere(elsewhere, response)

    def _stream_of(self, answer: Answer, request: Any) -> Any:
        if isinstance(answer.body, bytes):
            return None
        return _stream_class(self._httpx)(answer.body, self._httpx, request)

    async def aclose(self) -> None:
        """Close the HTTP connections, and the sockets that no other transport uses."""
        await self._door.close()
        for transport in self._inner.taken():
            await transport.aclose()


@cache
def _stream_class(httpx: ModuleType) -> Any:
    """The class of streamed bodies for a library, which checks their type."""

    class Stream(httpx.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, chunks: Chunks, httpx: ModuleType, request: Any) -> None:
            self._chunks = chunks
            self._httpx = httpx
            self._request = request

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._chunks:
                    yield chunk
            except Broken as broken:
                raise exception_of(self._httpx, broken, self._request) from broken

        async def aclose(self) -> None:
            await self._chunks.aclose()

    return Stream


__all__ = ["AsyncTransport"]
