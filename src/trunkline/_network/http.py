"""HTTP transport: a ``POST`` for each request, answered by server-sent events.

Used where WebSocket is unavailable. Events, exceptions and metrics are the same. Unlike on a socket, a
request can be cancelled: closing its connection stops the service.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .._decisions.baselines import Plan
from .._decisions.placement import Owner
from .._decisions.request import Request
from .._observe.wirelog import wire_log
from .._protocol.failure import Failure
from .._protocol.sink import Sink
from ..errors import ConnectFailed, NetworkError
from .background import Unstoppable, cancel, in_background, in_thread, running_loop
from .gateways import Gateways
from .http_exchange import HttpExchange
from .http_translation import lost, not_connected
from .reasons import system_message
from .redials import UNREACHED, Redials
from .route import route_to
from .sse import read_document
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
            return lost(error, self.authority)
        return None

    async def _get(self, url: str) -> None:
        client = await self._opened()
        import httpx2

        from .http_client import QuietURL

        request = client.build_request("GET", url, headers=await self._headers())
        request.url = QuietURL(request.url)
        try:
            await client.send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise not_connected(error, route_to(self._url, self._proxy)) from error

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
            return lost(error, self.authority)

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
        import httpx2

        from .http_client import QuietURL

        headers = await self._headers()
        headers |= self._gateways.of_request(self._url, headers, owner)
        headers |= {"Content-Type": "application/json", "Accept": accept}
        content: bytes | AsyncIterator[bytes] = body
        if on_departure is not None and len(body) > LARGE_BODY_BYTES:
            content = self._pieces(body, on_departure)
            headers["Content-Length"] = str(len(body))
        request = client.build_request("POST", url or self._url, content=content, headers=headers)
        request.url = QuietURL(request.url)
        try:
            response = await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise not_connected(error, route_to(self._url, self._proxy)) from error
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


def models_url(url: str) -> str:
    """The URL of the list of models, from that of the responses."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.removesuffix("responses") + "models").geturl()


__all__ = ["Document", "Headers", "HttpTransport"]
