"""The sockets of one client: dialled when needed, kept warm, gone the moment they die.

Placement decides synchronously; the dial runs in a task of the pool, outside every lock, so that a turn that
is cancelled while it waits does not take the connection from the others who wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .arguments import check_count, check_flag, check_number
from .background import cancel, in_background
from .baselines import Plan
from .connection import Connection, Dial
from .errors import ClientClosed, TurnError
from .history import History
from .lane import Run, Sink
from .lanes import MAX_IN_FLIGHT, MAX_NAMES, Lanes
from .metrics import PoolMetrics, PoolState
from .placement import Owner, Seat, place
from .wakeups import Wakeups
from .wirelog import log_rotation, shown, wire_log


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool. Times are seconds.

    Attributes:
        max_connections: connections at most; a turn that needs one more waits for a place.
        max_in_flight: responses in flight on one connection, at most 16.
        max_lanes: named lanes of one connection, at most 32.
        max_draining: abandoned answers that drain on one connection before new turns go elsewhere.
        drain_s: how long an abandoned answer may drain before its connection is given up.
        close_abandoned: close the socket of an abandoned answer, where nobody else is on it, instead of
            letting it drain: fewer tokens, and a new connection for the next turn.
        max_age_s: the age at which a connection is replaced. The service ends it at 3600.
        age_jitter_s: up to so much earlier, so that connections made together do not end together.
        upkeep_s: how often age and drains are looked at.
        max_keys: keys of ``Client.stream`` whose histories are remembered; beyond, the key that was used
            least recently is forgotten, and its next turn is sent in full.
    """

    max_connections: int = 1024
    max_in_flight: int = MAX_IN_FLIGHT
    max_lanes: int = MAX_NAMES
    max_draining: int = 8
    drain_s: float = 300.0
    close_abandoned: bool = False
    max_age_s: float = 3300.0
    age_jitter_s: float = 120.0
    upkeep_s: float = 5.0
    max_keys: int = 4096

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_draining", "max_keys"):
            check_count(getattr(self, name), f"PoolLimits.{name}")
        check_count(self.max_in_flight, "PoolLimits.max_in_flight", most=MAX_IN_FLIGHT)
        check_count(self.max_lanes, "PoolLimits.max_lanes", most=MAX_NAMES)
        for name in ("drain_s", "max_age_s", "age_jitter_s"):
            check_number(getattr(self, name), f"PoolLimits.{name}")
        check_number(self.upkeep_s, "PoolLimits.upkeep_s", above=0)
        check_flag(self.close_abandoned, "PoolLimits.close_abandoned")


@dataclass(frozen=True, slots=True)
class Place:
    """A place that is taken: the connection, the run on its lane, and what is to be sent there."""

    connection: Connection
    run: Run
    plan: Plan
    is_fork: bool
    close_abandoned: bool

    @property
    def has_started(self) -> bool:
        """The response has its id."""
        return self.run.response_id is not None or bool(self.run.earlier)

    @property
    def goes_on(self) -> bool:
        """The response has ended, and a steer may bring a successor."""
        return self.run.awaits_successor

    def begin(self, request: bytes) -> None:
        """Send the request."""
        self.connection.send(self.run, request)

    def abandon(self) -> None:
        """Let the answer drain, or close the socket where that is wanted and hurts nobody."""
        self.connection.abandon(self.run)
        if self.close_abandoned and not self.run.ended and self.connection.is_unheard:
            self.connection.shut()


class Pool:
    """All connections of a client, by the URL that they were dialled to.

    Args:
        dialler: gives, for a URL, the function that dials it.
        named_lanes: the endpoint has lanes.
        limits: the bounds.
        connect_s: how long a dial may take, in seconds; ``None`` for ever.
        wakeups: the tasks that wait for what the sockets bring; by default none yet.
        clock: seconds; by default the event loop's.
        log_content: where the wire is logged, frames are shown whole.

    Attributes:
        metrics: what was done so far.
        wakeups: the tasks that wait for what the sockets bring.
    """

    def __init__(
        self,
        dialler: Callable[[str], Dial],
        *,
        named_lanes: bool,
        limits: PoolLimits,
        connect_s: float | None = 10.0,
        wakeups: Wakeups | None = None,
        clock: Callable[[], float] = time.monotonic,
        log_content: bool = False,
    ) -> None:
        self.metrics = PoolMetrics()
        self.wakeups = wakeups or Wakeups()
        self._clock = clock
        self._dialler = dialler
        self._named_lanes = named_lanes
        self._limits = limits
        self._connect_s = connect_s
        self._log_content = log_content
        self._connections: dict[str, list[Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._upkeep: asyncio.TimerHandle | None = None
        self._replacing: set[Connection] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._closing: list[Connection] = []
        self._closed = False

    @property
    def connections(self) -> list[Connection]:
        """All connections that are open or being dialled."""
        return [connection for group in self._connections.values() for connection in group]

    def state(self, http: int = 0) -> PoolState:
        """What the connections do now; how many requests go over HTTP is known elsewhere."""
        group = self.connections
        open_ones = [each for each in group if each.is_ready] + [
            end for end in self._closing if end.is_closing
        ]
        return PoolState(
            sockets=len(open_ones),
            dialling=sum(each.is_dialling for each in group),
            retired=sum(each.is_retired for each in open_ones),
            lanes=sum(len(list(each.lanes)) for each in open_ones),
            in_flight=sum(each.lanes.in_flight for each in open_ones),
            draining=sum(each.lanes.draining for each in open_ones),
            http=http,
        )

    def take(
        self,
        url: str,
        owner: Owner | None,
        asked: History,
        candidates: Sequence[Plan],
        sink: Sink,
        avoiding: Collection[Connection] = (),
    ) -> Place | None:
        """Take a place for a turn; ``None`` when there is none and no further connection may be made."""
        self._check_open()
        may_dial = len(self.connections) < self._limits.max_connections
        trunks = self._trunks(url, avoiding, may_dial=may_dial)
        seat = place(owner, asked, candidates, trunks, may_evict=self._named_lanes or not may_dial)
        if seat is None and (may_dial or self._make_room(url)):
            trunks = [self._dial(url)]
            seat = place(owner, asked, candidates, trunks)
        return self._reserve(seat, owner, sink, trunks) if seat is not None else None

    def _trunks(self, url: str, avoiding: Collection[Connection], *, may_dial: bool) -> list[Connection]:
        """Where a turn may be placed now.

        A connection on which many abandoned answers drain takes turns only as long as no other is ready. A
        further one is dialled then, and nobody waits for it.
        """
        calm = [trunk for trunk in self._with_turns(url) if trunk not in avoiding]
        if any(trunk.is_ready and trunk.lanes.has_room for trunk in calm):
            return calm
        group = self._connections.get(url, ())
        crowded = [
            trunk
            for trunk in group
            if trunk.is_ready and trunk.takes_turns and trunk.lanes.has_room and trunk not in avoiding
        ]
        if crowded and may_dial and not any(trunk.lanes.has_room for trunk in calm):
            self._dial(url)
        return crowded or calm

    def _make_room(self, url: str) -> bool:
        """Where no further connection may be made, an idle one to another URL gives way."""
        idle = (
            connection
            for other, group in self._connections.items()
            for connection in group
            if other != url and connection.is_ready and connection.lanes.in_flight == 0
        )
        given_up = next(idle, None)
        if given_up is not None:
            given_up.retire()
        return given_up is not None

    def _reserve(self, seat: Seat, owner: Owner | None, sink: Sink, trunks: Sequence[Connection]) -> Place:
        connection = next(trunk for trunk in trunks if trunk.lanes is seat.lane.lanes)
        run = connection.lanes.reserve(seat.lane, sink, fork_of=seat.fork_of)
        seat.lane.settle(owner)
        if owner is not None:
            owner.home = seat.lane
        return Place(connection, run, seat.plan, seat.fork_of is not None, self._limits.close_abandoned)

    def _with_turns(self, url: str) -> list[Connection]:
        """The connections that new turns may be placed on."""
        most = self._limits.max_draining
        group = self._connections.get(url, ())
        return [trunk for trunk in group if trunk.takes_turns and trunk.lanes.draining < most]

    def has_room(self, url: str) -> bool:
        """Whether a connection is ready that takes another turn."""
        return any(trunk.is_ready and trunk.lanes.has_room for trunk in self._with_turns(url))

    async def room(self) -> None:
        """Wait until a place may have become free. Cancelling ends the wait."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    async def warm(self, url: str, count: int) -> None:
        """Have this many connections ready.

        Raises:
            NetworkError: one of them could not be made.
        """
        self._check_open()
        live = self._with_turns(url)
        while len(live) < count and len(self.connections) < self._limits.max_connections:
            live.append(self._dial(url))
        for connection in live[:count]:
            await connection.ready()

    async def close(self, within_s: float) -> None:
        """End every connection and every turn on it. Sockets that do not close in time are dropped."""
        self._closed = True
        self._wake()
        if self._upkeep is not None:
            self._upkeep.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        ending = self.connections + self._closing
        for connection in ending:
            connection.shut()
        try:
            async with asyncio.timeout(within_s):
                for connection in ending:
                    await connection.closed()
        except TimeoutError:
            for connection in ending:
                connection.abort()
            for connection in ending:
                await connection.closed()

    def end(self) -> None:
        """Drop every connection now, and every turn on it. May be called when the event loop is closed."""
        self._closed = True
        if self._upkeep is not None:
            self._upkeep.cancel()
        cancel(self._tasks)
        for connection in self.connections + self._closing:
            connection.drop()
        self._wake()

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed; create a new one")

    def _dial(self, url: str) -> Connection:
        self.metrics.dials += 1
        lanes = Lanes(
            named=self._named_lanes,
            max_in_flight=self._limits.max_in_flight,
            max_names=self._limits.max_lanes,
        )
        number = self.metrics.dials
        log = wire_log(f"connection {number}", shows_content=self._log_content)
        if log is not None:
            log.note("dials %s", shown(url))
        connection = Connection(number, lanes, self.metrics, self._clock, self._changed, log)
        self._connections.setdefault(url, []).append(connection)
        self._in_background(connection.dial(self._dialler(url), self._connect_s))
        if self._upkeep is None:
            self._plan_upkeep()
        return connection

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = in_background(work, "trunkline pool")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _plan_upkeep(self) -> None:
        loop = asyncio.get_running_loop()
        self._upkeep = loop.call_later(self._limits.upkeep_s, self._keep_up)

    def _keep_up(self) -> None:
        self.look_after()
        self._upkeep = None
        if self.connections or self._closing:
            self._plan_upkeep()

    def look_after(self) -> None:
        """Replace what is old, and give up what drains for too long. Called every ``upkeep_s``."""
        now = self._clock()
        for url, group in self._connections.items():
            for connection in list(group):
                connection.give_up_drains(now - self._limits.drain_s)
                if self._is_due(connection, now):
                    self._replacing.add(connection)
                    self._in_background(self._replace(url, connection))
        for connection in list(self._closing):
            connection.give_up_drains(now - self._limits.drain_s)

    def _is_due(self, connection: Connection, now: float) -> bool:
        if connection.opened_at is None or not connection.takes_turns or connection in self._replacing:
            return False
        jitter_s = self._limits.age_jitter_s * connection.jitter
        return now - connection.opened_at >= self._limits.max_age_s - jitter_s

    async def _replace(self, url: str, old: Connection) -> None:
        """A new connection first; then the old one takes no more turns, and ends after its last."""
        new = self._dial(url)
        try:
            await new.ready()
        except TurnError:
            return  # the old one still serves; the next look tries again
        finally:
            self._replacing.discard(old)
        self.metrics.rotations += 1
        log_rotation(old.number, new.number)
        old.retire()

    def _changed(self, connection: Connection) -> None:
        """A place became free, or a connection ended or retires."""
        if not connection.takes_turns:
            for group in self._connections.values():
                if connection in group:
                    group.remove(connection)
                    self._closing.append(connection)
            self._closing = [ending for ending in self._closing if ending.is_closing]
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                with suppress(RuntimeError):  # its event loop is closed: it waits for ever
                    waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<Pool: {len(self.connections)} connections>"
