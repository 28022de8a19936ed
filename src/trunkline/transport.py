"""Which way a turn goes: over a WebSocket of the pool, or over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from time import monotonic

from .background import cancel, in_background
from .breaker import Breaker
from .errors import ClientClosed, TurnError
from .http import HttpTransport
from .lifetime import Lifetime
from .pool import Pool
from .retention import Retention


class Transport(StrEnum):
    """How turns may go."""

    AUTO = "auto"
    """Over WebSocket; over HTTP when WebSocket cannot be had, until it can be had again."""

    WEBSOCKET = "websocket"
    """Over WebSocket only."""

    HTTP = "http"
    """Over HTTP only."""


class Transports:
    """Both ways of one endpoint with one credential, and what was learnt of them.

    Attributes:
        pool: the sockets.
        http: the way over HTTP.
    """

    def __init__(
        self, pool: Pool, http: HttpTransport, mode: Transport, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self.pool = pool
        self.http = http
        self._retention = Retention()
        self._mode = mode
        self._breaker = Breaker()
        self._clock = clock
        self._probes: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._lifetime = Lifetime(pool, http)

    def begin(self) -> None:
        """They are used in the running event loop, and end when nothing references them any more."""
        self._lifetime.begin(self)

    @property
    def now(self) -> float:
        """Seconds, on the clock of everything here."""
        return self._clock()

    @property
    def keeps_responses(self) -> bool:
        """Whether a stored response can be relied on, as far as is known."""
        return self._retention.is_trusted(self._clock())

    @property
    def may_fall_back(self) -> bool:
        """Whether HTTP may take the place of WebSocket."""
        return self._mode is Transport.AUTO

    def check_open(self) -> None:
        """Refuse what comes after `close`.

        Raises:
            ClientClosed: it is closed.
        """
        if self._closed.is_set():
            raise ClientClosed("the client is closed; create a new one")

    async def pause(self, seconds: float) -> None:
        """Let so much time pass, unless `close` comes first. Cancelling ends the wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def goes_over_http(self, url: str) -> bool:
        """Whether a turn that begins now goes over HTTP. A probe that is due is begun, and not waited for."""
        if self._mode is not Transport.AUTO:
            return self._mode is Transport.HTTP
        if self._breaker.is_closed or self.pool.has_room(url):
            return False
        if self._breaker.should_probe(self._clock()):
            task = in_background(_probe(url, self.pool, self._breaker, self._clock), "trunkline probe")
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
        return True

    def not_found(self, kept_at: float) -> None:
        """A response that was said to be stored then, on this clock, is not there."""
        self._retention.not_found(kept_at, self._clock())

    def fall_back(self, *, tried: bool) -> None:
        """A turn goes over HTTP instead: WebSocket was tried and failed, or there was no room to try it."""
        if tried:
            self._breaker.failed(self._clock())
        self.pool.metrics.fallbacks += 1

    def websocket_made(self) -> None:
        """A turn has its WebSocket."""
        if not self._breaker.is_closed:
            self._breaker.succeeded()

    async def close(self, within_s: float) -> None:
        """End everything."""
        self._closed.set()
        cancel(self._probes)
        try:
            if self._probes:
                await asyncio.wait(self._probes)
            await self.http.close()
            await self.pool.close(within_s)
        except BaseException:  # cancelled: what is still open is dropped
            self._lifetime.end()
            raise
        self._lifetime.over()

    def end(self) -> None:
        """End everything at once, where nothing can be awaited: the event loop is stopped or closed."""
        with suppress(RuntimeError):  # turns that pause on a closed loop are not woken
            self._closed.set()
        cancel(self._probes)
        self._lifetime.end()


async def _probe(url: str, pool: Pool, breaker: Breaker, clock: Callable[[], float]) -> None:
    try:
        await pool.warm(url, 1)
    except TurnError:
        breaker.failed(clock())
    except asyncio.CancelledError:
        breaker.failed(clock())
        raise
    else:
        breaker.succeeded()
