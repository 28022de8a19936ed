"""HTTP transport: a ``POST`` for each request, answered by server-sent events.

Used where WebSocket is unavailable. Events, exceptions and metrics are the same. Unlike on a socket, a
request can be cancelled: closing its connection stops the service.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .._decisions.baselines import Plan
from .._decisions.placement import Owner
from .._decisions.request import Request
from .._observe.wirelog import LoggedSink, WireLog, wire_log
from .._protocol.decoding import decode
from .._protocol.document import with_head
from .._protocol.events import EventKind
from .._protocol.failure import Failure, FailureKind
from .._protocol.frames import http_body
from .._protocol.items import TurnInput
from .._protocol.response import Response
from .._protocol.sink import Sink
from ..errors import ConnectFailed, NetworkError, UsageError
from .background import Unstoppable, cancel, in_background, in_thread, running_loop
from .exchange import Sent
from .gateways import Gateways
from .reasons import system_message, unresolved, untrusted
from .redials import UNREACHED, Redials
from .route import Route, route_to
from .sse import read_document, read_events
from .tcp import SocketOption

if TYPE_CHECKING:
    import httpx2

Headers = Callable[[], Awaitable[dict[str, str]]]
LARGE_BODY_BYTES: Final = 64 * 1024
"""A larger body is sent in pieces, so that it is seen to leave."""
_PIECE_BYTES: Final = 16 * 1024


class HttpTransport:
    """Posts requests to one URL.

    Args:
        url: the URL of the responses.
        headers: returns the headers of a request, with its credentials.
        redials: repeats requests that do not reach the server.
        gateways: the servers that are known to be gateways.
        clock: monotonic time in seconds.
        connect_s: the time limit of connecting, in seconds.
        ssl_context: as for `Client`.
        tcp_options: the options of each TCP socket.
        proxy: as for `Client`.
        log_content: as for `Client`.

    Attributes:
        authority: host and port of the URL; those of the proxy too, once a request uses it.
    """

    def __init__(
        self,
        url: str,
        headers: Headers,
        redials: Redials,
        gateways: Gateways,
        clock: Callable[[], float],
        *,
        connect_s: float | None,
        ssl_context: ssl.SSLContext | None = None,
        tcp_options: Sequence[SocketOption] = (),
        proxy: str | None = None,
        log_content: bool = False,
    ) -> None:
        self._url = url
        self._headers = headers
        self._redials = redials
        self._gateways = gateways
        self._clock = clock
        self._connect_s = connect_s
        self._ssl_context = ssl_context
        self._tcp_options = tcp_options
        self._proxy = proxy
        self.authority: str = urlsplit(url).netloc
        self._client: httpx2.AsyncClient | None = None
        self._opening: Future[httpx2.AsyncClient] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log_content = log_content

    @property
    def in_flight(self) -> int:
        """The number of requests in flight."""
        return len(self._running)

    def exchange(
        self, request: Request, plans: Sequence[Plan], sink: Sink, label: str, *, patient: bool = True
    ) -> HttpExchange:
        """An exchange for one request.

        Args:
            request: the request.
            plans: the deltas that can be sent, the longest first. Only stored parents exist over HTTP.
            sink: the receiver of the events.
            label: the name of the exchange in the log.
            patient: repeat the request until the deadline ``connect`` while the server cannot be reached.
        """
        stored = (plan for plan in plans if plan.parent is not None and plan.parent.stored)
        plan = next(stored, Plan(None, request.asked.items()))
        log = wire_log(label, shows_content=self._log_content)
        return HttpExchange(self, request, plan, sink, log, patient=patient)

    def run(self, exchange: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run an exchange in a task of its own."""
        task = in_background(exchange, "trunkline http")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def post(
        self,
        body: bytes,
        on_departure: Callable[[float], None],
        *,
        owner: Owner | None = None,
        patient: bool = True,
    ) -> httpx2.Response:
        """Post a body. Returns the answer when its headers have arrived; the body is unread.

        Args:
            body: the body.
            on_departure: called with the time for each piece of a large body that has left.
            owner: whose request it is. A gateway gets a hash of its name.
            patient: repeat the request while the server cannot be reached: nothing was sent then.
        """
        return await self._reached(lambda: self._post(body, on_departure, owner=owner), patient)

    async def _reached(
        self, post: Callable[[], Awaitable[httpx2.Response]], patient: bool
    ) -> httpx2.Response:
        if not patient:
            return await post()
        until = None if self._connect_s is None else self._clock() + self._connect_s
        return await self._redials.connect(post, until, repeats=UNREACHED)

    async def warm(self, connections: int) -> Failure | None:
        """Open connections, which stay open for the next requests.

        Each gets a request for the list of models, which costs no tokens. Any answer will do, because not
        every server has such a list.
        """
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._touch()) for _ in range(connections)]
        return next((failure for task in asked if (failure := task.result()) is not None), None)

    async def _touch(self) -> Failure | None:
        """Ask for the list of models, and read the answer to its end. The failure if there is none."""
        import httpx2

        try:
            async with asyncio.timeout(self._connect_s):
                await self._get(models_url(self._url))
        except NetworkError as error:
            return Failure.of(error)
        except TimeoutError:
            return Failure.deadline("connect", self._connect_s or 0.0)
        except httpx2.HTTPError as error:
            return _translated(error, self.authority)
        return None

    async def _get(self, url: str) -> None:
        client = await self._opened()
        request = client.build_request("GET", url, headers=await self._headers())
        request.url = _quiet_url()(request.url)
        import httpx2

        try:
            await client.send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise _not_connected(error, route_to(self._url, self._proxy)) from error

    async def post_document(self, path: str, body: bytes, *, patient: bool) -> Document | Failure:
        """Post a body that is answered by a document, and read the answer.

        Args:
            path: the path below the URL of the responses.
            body: the body.
            patient: as for `post`.
        """
        parts = urlsplit(self._url)
        url = parts._replace(path=parts.path + path).geturl()
        log = wire_log(f"http {path}", shows_content=self._log_content)
        if log is not None:
            log.sent("response" + path.replace("/", "."), body)
        try:
            response = await self._reached(
                lambda: self._post(body, url=url, accept="application/json"), patient
            )
            try:
                return Document(response.status_code, response.headers, await read_document(response))
            finally:
                await response.aclose()
        except NetworkError as error:
            return Failure.of(error)
        except Exception as error:
            return _translated(error, self.authority)

    async def _pieces(self, body: bytes, on_departure: Callable[[float], None]) -> AsyncIterator[bytes]:
        """The body in pieces. The next one is taken when the kernel has taken the one before."""
        for start in range(0, len(body), _PIECE_BYTES):
            yield body[start : start + _PIECE_BYTES]
            on_departure(self._clock())

    async def _post(
        self,
        body: bytes,
        on_departure: Callable[[float], None] | None = None,
        *,
        owner: Owner | None = None,
        url: str | None = None,
        accept: str = "text/event-stream",
    ) -> httpx2.Response:
        client = await self._opened()
        headers = await self._headers()
        headers |= self._gateways.of_request(self._url, headers, owner)
        headers |= {"Content-Type": "application/json", "Accept": accept}
        content: bytes | AsyncIterator[bytes] = body
        if on_departure is not None and len(body) > LARGE_BODY_BYTES:
            content = self._pieces(body, on_departure)
            headers["Content-Length"] = str(len(body))
        request = client.build_request("POST", url or self._url, content=content, headers=headers)
        request.url = _quiet_url()(request.url)
        import httpx2

        try:
            response = await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise _not_connected(error, route_to(self._url, self._proxy)) from error
        except httpx2.TransportError:
            self._redials.cut(self.authority)
            raise
        self._redials.answered()
        self._gateways.note(self._url, response.headers)
        return response

    def prepare(self) -> None:
        """Begin to import the HTTP client and to load certificates, so that the first request does not wait.

        It is done in a thread: it takes a tenth of a second, in which no running response would be read.
        May be called without an event loop, and again.
        """
        if self._client is None and self._opening is None:
            self._opening = in_thread(self._make_client, "trunkline http")

    async def _opened(self) -> httpx2.AsyncClient:
        self._loop = asyncio.get_running_loop()
        self.prepare()
        if self._client is None and self._opening is not None:
            opening = self._opening
            try:
                client = await asyncio.wrap_future(opening)
            except Exception as error:  # no file descriptor is free, for example
                if self._opening is opening:
                    self._opening = None
                if isinstance(error, ConnectFailed):
                    raise
                why = system_message(error) if isinstance(error, OSError) else type(error).__name__
                raise ConnectFailed(f"the HTTP client cannot be prepared: {why}") from error
            self._client = self._client or client
            self._opening = None
        assert self._client is not None
        return self._client

    def _make_client(self) -> httpx2.AsyncClient:
        with suppress(ImportError):  # the first request would import it
            import_module("anyio._backends._asyncio")
        from .http_client import http_client

        # The same reading of proxy, environment and certificates as for a WebSocket.
        route = route_to(self._url, self._proxy)
        self.authority = str(route)
        return http_client(route, self._ssl_context, connect_s=self._connect_s, tcp_options=self._tcp_options)

    @property
    def was_used(self) -> bool:
        """Whether an HTTP client was opened, which `Lifetime` reports if it is not closed."""
        return self._loop is not None

    async def close(self) -> None:
        """Cancel every request, wait for its end, and close the connections."""
        running = list(self._running)
        cancel(running)
        if running:
            await asyncio.wait(running)
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def end(self) -> None:
        """Cancel every request without waiting for its end. May be called when the event loop is closed."""
        cancel(self._running)
        loop = self._loop
        if loop is None or self._client is None:
            return
        if loop.is_closed():
            # Closing the client needs an await. Its connections are closed when it is garbage-collected.
            self._client = None
        elif loop is running_loop():
            in_background(Unstoppable(self.close()), "trunkline http")
        else:
            # The loop runs in another thread, or is stopped; then this has an effect only if it runs again.
            loop.call_soon_threadsafe(self.end)


@dataclass(frozen=True, slots=True, repr=False)  # content
class Document:
    """An answer that is no stream.

    Attributes:
        status: the HTTP status.
        headers: the header fields.
        content: the body; of a refusal, its beginning.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class HttpState(Enum):
    """The states of a request over HTTP::

        UNSENT ──send──▶ POSTED ──event──▶ STARTED ──final event──▶ ANSWERED
                            └───abandon───────┴──▶ ABANDONED

    UNSENT     nothing was sent.
    POSTED     no event has arrived.
    STARTED    an event has arrived.
    ANSWERED   the final event has arrived. The stream is read to its end, so that its connection can be used
               again.
    ABANDONED  the caller left; the task is being cancelled.
    """

    UNSENT = auto()
    POSTED = auto()
    STARTED = auto()
    ANSWERED = auto()
    ABANDONED = auto()


# Bound once: looking a member of an enumeration up costs more than the rest of a comparison.
_POSTED: Final = HttpState.POSTED
_ERRORS: Final = frozenset({EventKind.ERROR, EventKind.FAILED})
_STARTED: Final = HttpState.STARTED


class HttpExchange:
    """One request over HTTP.

    Attributes:
        lane: always ``None``: HTTP has no lanes.
        connection: always ``None``: the HTTP client chooses the connection.
        departed_at: when a part of the request was last seen to leave; 0 for a small request.
        may_go_on: always ``False``: a response over HTTP cannot be steered.
        is_barren: always ``False``: there is no socket.
    """

    lane: None = None
    connection: None = None
    may_go_on: bool = False
    is_barren: bool = False

    def __init__(
        self,
        transport: HttpTransport,
        request: Request,
        plan: Plan,
        sink: Sink,
        log: WireLog | None,
        *,
        patient: bool,
    ) -> None:
        self._patient = patient
        self._transport = transport
        self._request = request
        self._plan = plan
        self.departed_at: float = 0.0
        self._sink = LoggedSink(sink, log) if log is not None else sink
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._head: Mapping[str, str] = {}
        self._state = HttpState.UNSENT

    def send(self, *, looks_up: bool) -> Sent | Failure:
        """Post the request in a new task. Never a failure: the sink gets it."""
        parent, delta = self._plan.parent, self._plan.delta
        fields = self._request.fields
        body = http_body(
            fields if self._request.generate else fields.prewarming(),
            delta,
            previous_response_id=parent.response_id if parent is not None else None,
            looks_up=looks_up,
        )
        if self._log is not None:
            self._log.sent("response.create", body)
        self._state = HttpState.POSTED
        self._task = self._transport.run(self._exchange(body))
        return Sent(transport="http", parent=parent, items=len(delta), size_bytes=len(body))

    def steer(self, given: TurnInput) -> Failure | None:
        """Not available over HTTP.

        Raises:
            UsageError: always.
        """
        raise UsageError("steer() needs a WebSocket, and this turn uses HTTP")

    def distrust(self) -> None:
        """Does nothing: no other turn uses the connection."""

    def abandon(self) -> None:
        """Close the connection, so that the service stops. After the final event the request just ends."""
        if self._task is not None and self._state is not HttpState.ANSWERED:
            self._state = HttpState.ABANDONED
            cancel([self._task])

    def when_drained(self, report: Callable[[Response], None]) -> None:
        """Does nothing: the service stops an abandoned answer."""

    async def _exchange(self, body: bytes) -> None:
        """Post the body, deliver the events, report a failure. The sink ignores it after the final event."""
        try:
            response = await self._transport.post(
                body, self._on_departure, owner=self._request.owner, patient=self._patient
            )
            self._head = response.headers
            try:
                await read_events(response, self._deliver, self._sink.on_keep_alive)
            finally:
                await response.aclose()
            failure = Failure.lost("the HTTP stream ended before the response was complete", sent=True)
        except asyncio.CancelledError:
            is_left = self._state is HttpState.ABANDONED
            why = "the stream was closed" if is_left else "the client was closed"
            self._sink.fail(Failure.lost(why, sent=True, started=self._has_started))
            raise
        except NetworkError as error:
            failure = Failure.of(error)
        except Exception as error:
            failure = _translated(error, self._transport.authority)
        sent = failure.kind is not FailureKind.CONNECT
        self._sink.fail(failure.on_request(sent=sent, started=self._has_started))

    def _on_departure(self, at: float) -> None:
        self.departed_at = at

    def _deliver(self, frame: bytes) -> bool:
        sink, event = self._sink, decode(frame)
        if event.is_delta and self._state is _STARTED:
            sink.deliver_delta(event)
        else:
            if event.kind in _ERRORS:
                event = decode(with_head(frame, self._head))
            sink.deliver(event)
        is_over = sink.is_over
        state = self._state
        # The event itself may be the reason to abandon: that state is final.
        if (is_over or state is _POSTED) and state is not HttpState.ABANDONED:
            self._state = HttpState.ANSWERED if is_over else HttpState.STARTED
        return is_over

    @property
    def _has_started(self) -> bool:
        return self._state is HttpState.STARTED or self._state is HttpState.ANSWERED

    def __repr__(self) -> str:
        return f"<HttpExchange with {self._transport.authority}>"


def models_url(url: str) -> str:
    """The URL of the list of models, from that of the responses."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.removesuffix("responses") + "models").geturl()


@functools.cache
def _quiet_url() -> type[httpx2.URL]:
    """A class of URLs without their query as text: httpx2 logs URLs, and some gateways expect a key there."""
    import httpx2

    class QuietURL(httpx2.URL):
        def __str__(self) -> str:
            return super().__str__().partition("?")[0]

        def __repr__(self) -> str:
            return f"QuietURL({str(self)!r})"

    return QuietURL


def _translated(error: Exception, authority: str) -> Failure:
    """An exception of httpx2 as a failure.

    The message of the exception is not used, because it may hold a URL. The exception is kept as the cause.
    """
    reason = _system_error(error)
    why = system_message(reason) if reason is not None else type(error).__name__
    return Failure.lost(f"the HTTP connection to {authority} was lost: {why}", sent=True, cause=error)


def _not_connected(error: Exception, route: Route) -> ConnectFailed:
    """An exception of httpx2 while connecting, in the words of a WebSocket dial."""
    reason = _system_error(error)
    if isinstance(reason, ssl.SSLError):
        return untrusted(route, reason)
    if isinstance(reason, socket.gaierror):
        return unresolved(route.host, reason)
    why = system_message(reason) if reason is not None else type(error).__name__
    is_refused = reason is not None and not isinstance(reason, TimeoutError)
    return ConnectFailed(
        f"cannot connect to {route} over HTTP: {why}", fault="unreachable" if is_refused else "other"
    )


def _system_error(error: BaseException) -> OSError | None:
    """The first OSError with a number in the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


__all__ = ["Headers", "HttpExchange", "HttpTransport"]
