"""The same turns over HTTP: a ``POST`` that is answered by server-sent events.

For endpoints, networks and moments without WebSocket. Events, exceptions and metrics are the same. A request
can be cancelled here: leaving a turn closes its connection, and the service stops.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ._protocol.decoding import decode
from ._protocol.events import ErrorEvent, ReceivedEvent
from .background import Unstoppable, cancel, in_background, running_loop
from .errors import ConnectFailed, ConnectionLost, NetworkError, TurnError

if TYPE_CHECKING:
    import httpx2

MAX_EVENT_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
READ_ON_S = 1.0
"""How long a stream may take to end after its answer; if it does, the next turn uses its connection."""

Headers = Callable[[], Awaitable[dict[str, str]]]


class Sink(Protocol):
    """Who waits for the answer to one request."""

    @property
    def is_over(self) -> bool:
        """Nothing more is expected."""

    def deliver(self, event: ReceivedEvent) -> None:
        """Take one event; must not raise."""

    def fail(self, error: TurnError) -> None:
        """The exchange broke off; must not raise."""


class HttpTransport:
    """Posts requests to one URL.

    Args:
        url: where responses are created.
        headers: who asks; asked for each request.
        connect_s: how long connecting may take, in seconds.
        ssl_context: as for `Client`.
        proxy: as for `Client`.
    """

    def __init__(
        self,
        url: str,
        headers: Headers,
        *,
        connect_s: float | None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        self._url = url
        self._headers = headers
        self._connect_s = connect_s
        self._ssl_context = ssl_context
        self._proxy = proxy
        self.authority = urlsplit(url).netloc
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    def exchange(self, sink: Sink) -> HttpExchange:
        """One request and the events that answer it."""
        return HttpExchange(self, sink)

    def run(self, exchange: HttpExchange, body: bytes) -> asyncio.Task[None]:
        """Post the body in a task of its own, and hand on what comes."""
        task = in_background(exchange.run(body), "trunkline http")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def post(self, body: bytes) -> httpx2.Response:
        """The answer, as soon as its head is there."""
        client = self._opened()
        headers = await self._asked_headers()
        headers |= {"Content-Type": "application/json", "Accept": "text/event-stream"}
        request = client.build_request("POST", self._url, content=body, headers=headers)
        request.url = _quiet_url()(request.url)
        return await client.send(request, stream=True)

    async def _asked_headers(self) -> dict[str, str]:
        try:
            return await self._headers()
        except Exception as failure:  # an api_key function of the caller's
            problem = f"the api_key function raised {type(failure).__name__}; nothing was sent"
            raise ConnectFailed(problem) from failure

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2

            self._loop = asyncio.get_running_loop()
            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(None, connect=self._connect_s),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
                verify=self._ssl_context if self._ssl_context is not None else True,
                proxy=self._proxy or None,
                trust_env=self._proxy is None,
            )
        return self._client

    @property
    def was_used(self) -> bool:
        """Whether a request was posted."""
        return self._loop is not None

    async def close(self) -> None:
        """End every request."""
        running = list(self._running)
        cancel(running)
        if running:
            await asyncio.wait(running)
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def end(self) -> None:
        """End every request, and do not wait for it. May be called when the event loop is closed."""
        cancel(self._running)
        loop = self._loop
        if loop is None or self._client is None:
            return
        if loop.is_closed():  # nothing can be awaited: garbage collection closes the connections
            self._client = None
        elif loop is running_loop():
            in_background(Unstoppable(self.close()), "trunkline http")
        else:  # if it runs again
            loop.call_soon_threadsafe(self.end)


class HttpExchange:
    """One request over HTTP.

    Attributes:
        has_started: the response has its id.
    """

    def __init__(self, transport: HttpTransport, sink: Sink) -> None:
        self._transport = transport
        self._sink = sink
        self._task: asyncio.Task[None] | None = None
        self._is_left = False
        self._is_answered = False
        self.has_started = False
        self.goes_on = False  # there is no steering over HTTP

    def begin(self, request: bytes) -> None:
        """Post it."""
        self._task = self._transport.run(self, request)

    def abandon(self) -> None:
        """Close the connection; the service stops. After the answer it is read to its end instead."""
        self._is_left = True
        if self._task is not None and not self._is_answered:
            cancel([self._task])

    async def run(self, body: bytes) -> None:
        """Post the body and deliver what comes, to the end or to a failure."""
        try:
            await self._exchange(body)
            error: TurnError = ConnectionLost(
                "the HTTP stream ended before the response was complete", sent=True
            )
        except asyncio.CancelledError:
            why = "the stream was closed" if self._is_left else "the client was closed"
            self._sink.fail(ConnectionLost(why, sent=True, started=self.has_started))
            raise
        except TurnError as failure:
            error = failure
            error.sent = not isinstance(failure, ConnectFailed)
        except Exception as failure:
            error = _translated(failure, self._transport.authority)
        error.started = self.has_started
        self._sink.fail(error)

    async def _exchange(self, body: bytes) -> None:
        from httpx2 import EventSource

        response = await self._transport.post(body)
        try:
            if response.status_code != 200:
                self._sink.deliver(decode(await _refusal(response)))
                return
            async with asyncio.timeout(None) as bound:
                async for event in EventSource(response, max_event_size=MAX_EVENT_BYTES):
                    if self._is_answered or not event.data or event.data == "[DONE]":
                        continue
                    self._sink.deliver(decode(event.data.encode()))
                    self.has_started = True
                    if self._sink.is_over:
                        self._is_answered = True
                        bound.reschedule(asyncio.get_running_loop().time() + READ_ON_S)
        finally:
            await response.aclose()


@functools.cache
def _quiet_url() -> type[httpx2.URL]:
    """URLs that are shown without their query: httpx2 logs them, and some gateways take keys there."""
    import httpx2

    class QuietURL(httpx2.URL):
        def __str__(self) -> str:
            return super().__str__().partition("?")[0]

        def __repr__(self) -> str:
            return f"QuietURL({str(self)!r})"

    return QuietURL


async def _refusal(response: httpx2.Response) -> bytes:
    """An HTTP error as the ``error`` event that the socket would have brought."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ERROR_BYTES:
            break
    error = _error_of(bytes(content))
    error.setdefault("message", f"HTTP status {response.status_code}")
    error["headers"] = dict(response.headers)
    return json.dumps({"type": ErrorEvent.type, "status": response.status_code, "error": error}).encode()


def _error_of(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _translated(error: Exception, authority: str) -> NetworkError:
    """Exceptions of httpx2, as ours. Their messages may hold URLs: they stay behind, as the cause."""
    import httpx2

    why = _words(error)
    made: NetworkError
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        made = ConnectFailed(f"cannot connect to {authority} over HTTP: {why}")
    else:
        made = ConnectionLost(f"the HTTP connection to {authority} was lost: {why}", sent=True)
    made.__cause__ = error
    return made


def _words(error: BaseException) -> str:
    """The system's words for the failure at the bottom, else the name of the exception."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
