"""The sockets of one client: dialled when needed, kept warm, gone the moment they die.

Placement decides synchronously; the dial runs in a task of the pool, outside every lock, so that a turn that
is cancelled while it waits does not take the connection from the others who wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from .baselines import Plan
from .connection import Connection, Dial
from .errors import ClientClosed
from .history import History
from .lanes import MAX_IN_FLIGHT, MAX_NAMES, Lanes, Run, Sink
from .metrics import PoolMetrics
from .placement import Owner, Seat, place


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool.

    Attributes:
        max_connections: connections at most; a turn that needs one more waits for a place.
        max_in_flight: responses in flight on one connection, at most 16.
        max_lanes: named lanes of one connection, at most 32.
        connect_s: how long a dial may take, in seconds.
    """

    max_connections: int = 1024
    max_in_flight: int = MAX_IN_FLIGHT
    max_lanes: int = MAX_NAMES
    connect_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """A place that is taken: the connection, the run on its lane, and what is to be sent."""

    connection: Connection
    run: Run
    plan: Plan
    is_fork: bool


class Pool:
    """All connections of a client, by the URL that they were dialled to.

    Args:
        dialler: gives, for a URL, the function that dials it.
        named_lanes: the endpoint has lanes.
        limits: the bounds.
    """

    def __init__(self, dialler: Callable[[str], Dial], *, named_lanes: bool, limits: PoolLimits) -> None:
        self.metrics = PoolMetrics()
        self._dialler = dialler
        self._named_lanes = named_lanes
        self._limits = limits
        self._connections: dict[str, list[Connection]] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._closing: list[Connection] = []
        self._closed = False

    @property
    def connections(self) -> list[Connection]:
        """All connections that are open or being dialled."""
        return [connection for group in self._connections.values() for connection in group]

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
        group = self._connections.setdefault(url, [])
        trunks = [trunk for trunk in group if trunk.takes_turns and trunk not in avoiding]
        may_dial = len(self.connections) < self._limits.max_connections
        seat = place(owner, asked, candidates, trunks, may_evict=self._named_lanes or not may_dial)
        if seat is None and may_dial:
            trunks = [self._dial(url)]
            seat = place(owner, asked, candidates, trunks)
        return self._reserve(seat, owner, sink, trunks) if seat is not None else None

    def _reserve(self, seat: Seat, owner: Owner | None, sink: Sink, trunks: Sequence[Connection]) -> Place:
        lanes = seat.lane.lanes
        connection = next(trunk for trunk in trunks if trunk.lanes is lanes)
        run = lanes.reserve(seat.lane, sink, fork_of=seat.fork_of)
        seat.lane.settle(owner)
        if owner is not None:
            owner.home = seat.lane
        return Place(connection, run, seat.plan, seat.fork_of is not None)

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
        live = [connection for connection in self._connections.get(url, []) if connection.takes_turns]
        while len(live) < min(count, self._limits.max_connections):
            live.append(self._dial(url))
        for connection in live[:count]:
            await connection.ready()

    async def close(self, within_s: float) -> None:
        """End every connection and every turn on it. Sockets that do not close in time are dropped."""
        self._closed = True
        self._wake()
        for task in self._dials:
            task.cancel()
        if self._dials:
            await asyncio.wait(self._dials)
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

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed; make a new one")

    def _dial(self, url: str) -> Connection:
        self.metrics.dials += 1
        lanes = Lanes(
            named=self._named_lanes,
            max_in_flight=self._limits.max_in_flight,
            max_names=self._limits.max_lanes,
        )
        connection = Connection(self.metrics.dials, lanes, self.metrics, self._changed)
        self._connections.setdefault(url, []).append(connection)
        task = asyncio.get_running_loop().create_task(
            connection.dial(self._dialler(url), self._limits.connect_s),
            name=f"trunkline dial {connection.number}",
        )
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return connection

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
                waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<Pool: {len(self.connections)} connections>"
