"""HTTP transport: a ``POST`` for each request, answered by server-sent events.

It takes over where no WebSocket is available. Events, exceptions and metrics are the same. Unlike on a
socket, a request can be cancelled: leaving a turn closes its connection, and the service stops.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._decisions.baselines import Plan
from .._decisions.request import Request
from .._observe.wirelog import LoggedSink, WireLog, wire_log
from .._protocol.decoding import decode
from .._protocol.events import ErrorEvent
from .._protocol.failure import Failure, FailureKind
from .._protocol.frames import http_body
from .._protocol.items import TurnInput
from .._protocol.sink import Sink
from ..errors import ConnectFailed, NetworkError, UsageError
from .background import Unstoppable, cancel, in_background, running_loop
from .exchange import Sent

if TYPE_CHECKING:
    import httpx2

MAX_EVENT_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
READ_ON_S = 1.0
"""Time that a stream has to end after its answer, so that the next request can use its connection."""

Headers = Callable[[], Awaitable[dict[str, str]]]


class HttpTransport:
    """Posts requests to one URL.

    Args:
        url: the URL of the responses.
        headers: gives the headers of a request, with its credentials.
        connect_s: the time limit of connecting, in seconds.
        log_content: log lines of the wire show whole frames.
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
        log_content: bool = False,
    ) -> None:
        self._url = url
        self._headers = headers
        self._connect_s = connect_s
        self._ssl_context = ssl_context
        self._proxy = proxy
        self.authority = urlsplit(url).netloc
        self._client: httpx2.AsyncClient | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log_content = log_content

    @property
    def in_flight(self) -> int:
        """The number of requests that are being answered."""
        return len(self._running)

    def exchange(self, request: Request, plans: Sequence[Plan], sink: Sink, label: str) -> HttpExchange:
        """An exchange for one request.

        Args:
            request: the request.
            plans: the deltas that can be sent, the longest first. Only stored parents exist over HTTP.
            sink: the receiver of the events.
            label: the name of the exchange in the log.
        """
        stored = (plan for plan in plans if plan.parent is not None and plan.parent.stored)
        plan = next(stored, Plan(None, request.asked.items()))
        log = wire_log(label, shows_content=self._log_content)
        return HttpExchange(self, request, plan, sink, log)

    def run(self, exchange: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run an exchange in a task of its own."""
        task = in_background(exchange, "trunkline http")
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
        """End every request without waiting for it. May be called when the event loop is closed."""
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
        lane: ``None``: HTTP has no lanes.
        connection: ``None``: the HTTP client chooses it.
        may_go_on: ``False``: there is no steering over HTTP.
    """

    lane: None = None
    connection: None = None
    may_go_on: bool = False

    def __init__(
        self,
        transport: HttpTransport,
        request: Request,
        plan: Plan,
        sink: Sink,
        log: WireLog | None,
    ) -> None:
        self._transport = transport
        self._request = request
        self._plan = plan
        self._sink = LoggedSink(sink, log) if log is not None else sink
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._is_left = False
        self._is_answered = False
        self._has_started = False

    def send(self) -> Sent | Failure:
        """Post the request, in a task of its own."""
        parent, delta = self._plan.parent, self._plan.delta
        body = http_body(
            self._request.fields,
            delta,
            previous_response_id=parent.response_id if parent is not None else None,
        )
        if self._log is not None:
            self._log.sent("response.create", body)
        self._task = self._transport.run(self._exchange(body))
        return Sent(transport="http", parent=parent, items=len(delta), size_bytes=len(body))

    def steer(self, given: TurnInput) -> None:
        """Steering needs a WebSocket."""
        raise UsageError("steer() needs a WebSocket, and this turn uses HTTP")

    def abandon(self) -> None:
        """Close the connection, so that the service stops. After the answer it is read to its end instead."""
        if self._task is not None and not self._is_answered:
            self._is_left = True
            cancel([self._task])

    async def _exchange(self, body: bytes) -> None:
        """Post the body and deliver what comes, to the end or to a failure."""
        try:
            await self._read(body)
            failure = Failure.lost("the HTTP stream ended before the response was complete", sent=True)
        except asyncio.CancelledError:
            why = "the stream was closed" if self._is_left else "the client was closed"
            self._sink.fail(Failure.lost(why, sent=True, started=self._has_started))
            raise
        except NetworkError as error:
            failure = Failure.of(error)
        except Exception as error:
            failure = _translated(error, self._transport.authority)
        sent = failure.kind is not FailureKind.CONNECT
        self._sink.fail(failure.on_request(sent=sent, started=self._has_started))

    async def _read(self, body: bytes) -> None:
        from httpx2 import EventSource

        sink = self._sink
        response = await self._transport.post(body)
        try:
            if response.status_code != HTTPStatus.OK:
                sink.deliver(decode(await _refusal(response)))
                return
            async with asyncio.timeout(None) as bound:
                async for event in EventSource(response, max_event_size=MAX_EVENT_BYTES):
                    # After the answer the stream is read to its end, so that the next request can use its
                    # connection.
                    if self._is_answered or not event.data or event.data == "[DONE]":
                        continue
                    sink.deliver(decode(event.data.encode()))
                    self._has_started = True
                    if sink.is_over:
                        self._is_answered = True
                        bound.reschedule(asyncio.get_running_loop().time() + READ_ON_S)
        finally:
            await response.aclose()

    def __repr__(self) -> str:
        return f"<HttpExchange with {self._transport.authority}>"


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


def _translated(error: Exception, authority: str) -> Failure:
    """The failure that an exception of httpx2 means.

    Its message may hold a URL, and stays behind as the cause.
    """
    import httpx2

    why = _words(error)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return Failure.connect(f"cannot connect to {authority} over HTTP: {why}", cause=error)
    return Failure.lost(f"the HTTP connection to {authority} was lost: {why}", sent=True, cause=error)


def _words(error: BaseException) -> str:
    """The system's words for the failure at the bottom, else the name of the exception."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
