"""WebSocket and HTTP transports of one endpoint with one credential, and their fallback state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum, StrEnum, auto
from itertools import count
from typing import TypeVar

from .._decisions.baselines import Plan
from .._decisions.breaker import Breaker
from .._decisions.placement import Asking, Candidate
from .._decisions.request import Request
from .._decisions.retention import Retention
from .._decisions.suspects import Suspects
from .._observe.metrics import PoolCounters, PoolState
from .._observe.notices import Notices
from .._observe.removals import Removals
from .._protocol.failure import Failure, FailureKind
from .._protocol.sink import Sink
from ..errors import ClientClosed
from ..options import Due, Phase
from .background import cancel, in_background
from .exchange import Exchange, NotOpened, SocketExchange
from .http import HttpTransport
from .lifetime import Lifetime
from .pool import Pool
from .wakeups import Wakeups
from .world import World

T = TypeVar("T")


class Transport(StrEnum):
    """The transport of turns."""

    AUTO = "auto"
    """WebSocket; HTTP while no WebSocket is available."""

    WEBSOCKET = "websocket"
    """WebSocket only."""

    HTTP = "http"
    """HTTP only."""


class Admission(Enum):
    """Which turns the transports take::

        OPEN ──drain──▶ DRAINING ──close──▶ CLOSED
          └───────────────close───────────────▲

    OPEN      all turns.
    DRAINING  turns that have begun, and their further attempts; no new ones.
    CLOSED    none.
    """

    OPEN = auto()
    DRAINING = auto()
    CLOSED = auto()


class Transports:
    """WebSocket and HTTP transports of one endpoint with one credential.

    Attributes:
        pool: the WebSocket connections.
        http: the HTTP transport.
        counters: the counters of the client.
        removals: the reasoning that the service removed from contexts.
        suspects: the shapes of requests that lost sockets.
        wakeups: resumes the readers of streams.
        world: clock, chance and network.
    """

    def __init__(
        self,
        pool: Pool,
        http: HttpTransport,
        mode: Transport,
        *,
        counters: PoolCounters,
        wakeups: Wakeups,
        world: World,
        notices: Notices,
    ) -> None:
        self.pool = pool
        self.http = http
        self.counters = counters
        self.removals: Removals = Removals(counters, world.clock)
        self.wakeups = wakeups
        self.world = world
        self._mode = mode
        self._notices = notices
        self.suspects: Suspects = Suspects()
        self._isolation = asyncio.Lock()
        self._retention = Retention()
        self._breaker = Breaker()
        self._numbers = count(1)
        self._probes: set[asyncio.Task[None]] = set()
        self._admission = Admission.OPEN
        self._running = 0
        self._closed = asyncio.Event()
        self._idle: asyncio.Event | None = None  # of `drain`; set by the end of the last turn
        self._lifetime = Lifetime(pool, http)
        if mode is Transport.HTTP:
            http.prepare()

    def begin(self) -> None:
        """The transports are used in the running event loop.

        They end when nothing references them any more.
        """
        self._lifetime.begin(self)

    def state(self) -> PoolState:
        """The connections and requests at this moment."""
        return replace(self.pool.state(), http=self.http.in_flight, probing=bool(self._probes))

    async def warm(self, url: str, connections: int) -> Failure | None:
        """Open sockets, or HTTP connections if turns use no sockets.

        The HTTP client is prepared if turns may use it.
        """
        if self._mode is Transport.HTTP:
            return await self.http.warm(connections)
        if self._mode is not Transport.WEBSOCKET:
            self.http.prepare()
        return await self.pool.warm(url, connections)

    def begin_turn(self) -> int:
        """Begin a turn, whose first attempt calls `check_admits`. Returns its number, from 1.

        `turn_ended` follows.
        """
        self._running += 1
        return next(self._numbers)

    def turn_ended(self) -> None:
        """A turn that was admitted has ended."""
        self._running -= 1
        if self._idle is not None and not self._running:
            self._idle.set()

    def check_admits(self) -> None:
        """Raise if no new turns are taken.

        Raises:
            ClientClosed: the client drains, or was closed.
        """
        if self._admission is Admission.DRAINING:
            raise ClientClosed("the client is draining and takes no new turns; create a new one")
        self.check_open()

    @property
    def keeps_responses(self) -> bool:
        """Whether stored responses can be relied on."""
        retention = self._retention
        return retention.is_clear or retention.is_trusted(self.world.clock())

    @property
    def loses_reasoning(self) -> bool:
        """Whether the service loses the reasoning of responses, unless requests bring it back."""
        retention = self._retention
        return not retention.is_clear and retention.loses_reasoning(self.world.clock())

    @property
    def looks_up(self) -> bool:
        """Whether the service finds items of earlier responses by their ids."""
        retention = self._retention
        return retention.is_clear or retention.looks_up(self.world.clock())

    @property
    def may_chain(self) -> bool:
        """Whether requests may name a parent."""
        return self._retention.may_chain(self.world.clock())

    @property
    def may_fall_back(self) -> bool:
        """Whether turns may go over HTTP instead of WebSocket."""
        return self._mode is Transport.AUTO

    def check_open(self) -> None:
        """Raise if the transports were closed.

        Raises:
            ClientClosed: they were closed.
        """
        if self._lifetime.is_inherited:
            raise ClientClosed("the client was used before a fork; create a new one in each process")
        if self._admission is Admission.CLOSED:
            raise ClientClosed("the client is closed; create a new one")

    async def pause(self, seconds: float) -> None:
        """Wait, but not after `close`. Cancelling ends the wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def not_found(self, kept_at: float) -> None:
        """A response that was stored at that time, according to the service, is not there."""
        self._retention.not_found(kept_at, self.world.clock())

    def not_stored(self, *, lost_reasoning: bool) -> None:
        """The service did not store a response, although the request allowed it.

        Args:
            lost_reasoning: the response has reasoning without encrypted content.
        """
        self._retention.not_stored(self.world.clock(), lost_reasoning=lost_reasoning)

    def parent_ignored(self) -> None:
        """A response was made without the parent that its request named."""
        if self.may_chain:
            self._notices.unchained("it ignores previous_response_id")
        self._retention.parent_ignored()

    def parent_refused(self) -> None:
        """A request was refused with its parent, and answered without it."""
        if self.may_chain:
            self._notices.unchained("it refuses previous_response_id")
        self._retention.parent_refused(self.world.clock())

    async def open(
        self,
        request: Request,
        sink: Sink,
        *,
        avoiding: Sequence[Candidate],
        in_full: bool,
        over_http: bool,
        patient: bool,
        due: Due | None,
        label: str,
        suspect: str | None = None,
    ) -> Exchange | NotOpened:
        """An exchange that is ready to send the request.

        Cancelling gives the place back.

        Args:
            request: the request.
            sink: the receiver of its events.
            avoiding: connections on which an earlier attempt failed.
            in_full: name no parent.
            over_http: use HTTP.
            patient: wait while dials are repeated.
            due: the deadline of the wait for a connection.
            label: the name of an exchange over HTTP in the log.
            suspect: the shape of a request that must be sent alone.
        """

        def plans() -> list[Plan]:
            if in_full:
                return []
            if self._retention.is_clear:
                return request.plans(keeps_responses=True)
            return request.plans(keeps_responses=self.keeps_responses) if self.may_chain else []

        if suspect is not None and self.may_fall_back:
            over_http = over_http or self.suspects.is_isolated(suspect, self.world.clock())
        if over_http or self._goes_over_http(request.url):
            return self.http.exchange(request, plans(), sink, label, patient=patient)

        def asking() -> Asking:
            return Asking(request.owner, request.asked, plans(), avoiding)

        exchange: SocketExchange | None = None
        if suspect is not None:
            exchange = await self._take_alone(request, asking, sink, suspect, due)
        if exchange is None:
            exchange = self.pool.take(request, asking, sink)
        if exchange is None:
            placed = await self._within(due, self.pool.wait_for_place(request, asking, sink))
            if isinstance(placed, Failure):
                return NotOpened(placed)
            exchange = placed
        if not exchange.connection.is_ready:
            try:
                failure = await self._within(due, exchange.connection.ready(patient=patient))
            except BaseException:
                exchange.abandon()
                raise
            if failure is not None:
                exchange.abandon()
                if failure.kind is FailureKind.DEADLINE and failure.phase == Phase.CONNECT:
                    failure = exchange.connection.refusal or failure
                self._on_failed_dial(failure)
                return NotOpened(failure, exchange.connection)
        self._breaker.opened()
        return exchange

    async def _take_alone(
        self,
        request: Request,
        asking: Callable[[], Asking],
        sink: Sink,
        shape: str,
        due: Due | None,
    ) -> SocketExchange | None:
        """A connection for a suspect request alone, one suspect after the other.

        ``None`` if another request of its shape was answered meanwhile.
        """
        waited = await self._within(due, self._isolation.acquire())
        release = self._isolation.release if waited is True else lambda: None
        if not self.suspects.is_suspect(shape, self.world.clock()):
            release()
            return None

        def settled(is_answered: bool) -> None:
            if is_answered:
                self.suspects.answered(shape)
            release()

        try:
            return self.pool.take_alone(request, asking, sink, settled)
        except BaseException:
            release()
            raise

    async def _within(self, due: Due | None, wait: Awaitable[T]) -> T | Failure:
        """The result of a wait, or the failure of the deadline that passed first."""
        try:
            async with asyncio.timeout(due.at - self.world.clock() if due is not None else None):
                return await wait
        except TimeoutError:
            if due is None:
                raise
            return Failure.deadline(due.phase, due.waited_s)

    def _on_failed_dial(self, failure: Failure) -> None:
        # A rate limit shows that WebSocket works. A server that cannot be reached says nothing of it.
        is_refused_for_now = failure.kind is FailureKind.UPGRADE and failure.status == 429
        is_no_answer = failure.fault in ("unreachable", "final")
        if self._mode is Transport.AUTO and not is_refused_for_now and not is_no_answer:
            self._breaker.failed(self.world.clock())
            self._notices.fell_back(failure.words)
            self.http.prepare()

    def upgrade_carried_nothing(self, reason: str) -> None:
        """Sockets opened, and ended or were silent before any event: as if their upgrade had been refused."""
        self._breaker.failed(self.world.clock())
        self._notices.fell_back(reason)

    def socket_answered(self) -> None:
        """A socket has brought a response."""
        if not self._breaker.is_settled:
            self._breaker.succeeded()
            self._notices.recovered()

    def _goes_over_http(self, url: str) -> bool:
        """Whether a turn that begins now goes over HTTP. A probe that is due begins in the background."""
        if self._mode is not Transport.AUTO:
            return self._mode is Transport.HTTP
        if self._breaker.is_closed or self.pool.has_room(url):
            return False
        if self._breaker.should_probe(self.world.clock()):
            task = in_background(_probe(url, self.pool, self._breaker, self.world.clock), "trunkline probe")
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
        return True

    async def drain(self, within_s: float) -> None:
        """Take no new turns, and wait until those that have begun have ended, or `close` is called."""
        if self._admission is Admission.OPEN:
            self._admission = Admission.DRAINING
        if self._idle is None:
            self._idle = asyncio.Event()
        if not self._running or self._admission is Admission.CLOSED:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    async def close(self, within_s: float) -> None:
        """End every turn and close every connection."""
        self._shut()
        if self._lifetime.is_inherited:
            return
        cancel(self._probes)
        try:
            if self._probes:
                await asyncio.wait(self._probes)
            await self.http.close()
            await self.pool.close(within_s)
        except BaseException:  # cancelled: drop what is still open
            self._lifetime.end()
            raise
        self._lifetime.over()

    def end(self) -> None:
        """End everything without waiting: the event loop is stopped or closed, so nothing can be awaited."""
        with suppress(RuntimeError):  # turns that pause on a closed loop do not resume
            self._shut()
        cancel(self._probes)
        self._lifetime.end()

    def _shut(self) -> None:
        self._admission = Admission.CLOSED
        if self._idle is not None:
            self._idle.set()
        self._closed.set()


async def _probe(url: str, pool: Pool, breaker: Breaker, clock: Callable[[], float]) -> None:
    # A function without `self`: a task must not keep the transports of a dropped client.
    try:
        failure = await pool.warm(url, 1)
    except asyncio.CancelledError:
        breaker.failed(clock())
        raise
    if failure is not None:
        breaker.failed(clock())
    else:
        breaker.opened()
