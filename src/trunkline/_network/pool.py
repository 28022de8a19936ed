"""The connections of one client: dialled when they are needed, kept warm, and dropped the moment they die.

Placement is decided synchronously, by `assign`. Dials run in tasks of the pool and outside every lock, so
that a turn that is cancelled while it waits does not take the connection from the others. Turns that find no
place wait in one queue for each URL; a place that becomes free goes to the oldest of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

from .._decisions.liveness import Patience
from .._decisions.placement import Asking, Bounds, Placement, Seat, assign, first_seat
from .._decisions.request import Request
from .._observe.metrics import PoolCounters, PoolState
from .._observe.notices import Notices
from .._observe.wirelog import log_rotation, shown, wire_log
from .._protocol.failure import Failure
from .._protocol.lane import Run
from .._protocol.lanes import Lanes
from .._protocol.sink import Sink
from ..errors import ClientClosed
from ..options import PoolLimits
from .background import cancel, in_background
from .connection import Connect, Connection
from .exchange import SocketExchange
from .pulse import Pulse
from .redials import Redials
from .world import Timer, World

LARGEST_FRAME: Final = 16 * 2**20
"""The size in bytes of the largest message that OpenAI takes over a WebSocket."""
_SMALL_FRAME: Final = 2**16


@dataclass(slots=True, eq=False)
class _Waiting:
    """A turn in the queue. Turns are numbered in the order in which they began to wait."""

    number: int
    request: Request
    asking: Callable[[], Asking]
    sink: Sink
    placed: asyncio.Future[SocketExchange] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Private:
    """A connection for one turn alone.

    Attributes:
        run: the run of that turn.
        max_in_flight: the number of runs that the connection takes afterwards.
        settled: called with whether the turn had an event.
    """

    run: Run
    max_in_flight: int
    settled: Callable[[bool], None]


class Pool:
    """All connections of a client, by the URL that they were dialled to.

    Args:
        connect: gives, for a URL, the function that dials it.
        redials: is told whether the server answers on the connections that it accepts.
        named_lanes: the endpoint has lanes.
        detects_lanes: lanes are used once a server has named itself a gateway.
        limits: the bounds.
        ping_idle_s: the silence of an idle connection after which a PING is sent, in seconds.
        largest_shared: the number of bytes above which a request is not sent on a socket with other turns,
            which would end with it if the server refuses its size.
        connect_s: the time limit of a dial, in seconds.
        repeats_ids: the server is known to give one id to all responses of a connection.
        counters: where events of the pool are counted.
        notices: what operators are told.
        world: the clock, for ages and drains, and chance, for jitter.
        log_content: log lines of the wire show whole frames.
    """

    def __init__(
        self,
        connect: Callable[[str], Connect],
        redials: Redials,
        *,
        named_lanes: bool,
        detects_lanes: bool = False,
        limits: PoolLimits,
        connect_s: float | None,
        ping_idle_s: float,
        largest_shared: int = LARGEST_FRAME,
        repeats_ids: bool = False,
        counters: PoolCounters,
        notices: Notices,
        world: World,
        log_content: bool = False,
    ) -> None:
        self._connect = connect
        self._redials = redials
        self._named_lanes = named_lanes
        self._detects_lanes = detects_lanes and not named_lanes
        self._repeats_ids = repeats_ids
        self._limits = limits
        self._connect_s = connect_s
        self._counters = counters
        self._notices = notices
        self._world = world
        self._log_content = log_content
        self._largest_frame = LARGEST_FRAME
        self._largest_shared = largest_shared
        self._numbers = count(1)
        self._waits = count(1)
        self._connections: dict[str, list[Connection]] = {}
        self._closing: list[Connection] = []
        self._replacing: set[Connection] = set()
        self._queues: dict[str, deque[_Waiting]] = {}
        self._is_placing = False
        self._private: dict[Connection, _Private] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._upkeep: Timer | None = None
        self._patience = Patience(
            ping_after_s=limits.ping_after_s,
            ping_idle_s=ping_idle_s,
            doubt_s=limits.doubt_after_s - limits.ping_after_s,
            dead_s=limits.dead_after_s - limits.ping_after_s,
        )
        self._pulse = Pulse(lambda: self.connections + self._closing, self._patience, world)
        self._closed = False

    @property
    def was_used(self) -> bool:
        """Whether a connection was ever dialled."""
        return bool(self._connections)

    @property
    def connections(self) -> list[Connection]:
        """The connections that are open or being dialled and take turns."""
        # A list of the groups: another thread may read them, for metrics.
        return [connection for group in list(self._connections.values()) for connection in group]

    def state(self) -> PoolState:
        """The connections at this moment."""
        group = self.connections
        open_ones = [each for each in group if each.is_open]
        open_ones += [each for each in self._closing if each.is_closing]
        return PoolState(
            sockets=len(open_ones),
            dialling=sum(each.is_dialling for each in group),
            retired=sum(each.is_retired for each in open_ones),
            lanes=sum(len(each.lanes) for each in open_ones),
            in_flight=sum(each.lanes.in_flight for each in open_ones),
            draining=sum(each.lanes.draining for each in open_ones),
            replacing=len(self._replacing),
        )

    def is_private(self, connection: object) -> bool:
        """Whether the connection is for one turn alone, which has had no event."""
        return connection in self._private

    def has_room(self, url: str) -> bool:
        """Whether a connection is ready that takes another turn."""
        return any(
            each.is_ready and each.lanes.has_room and each.lanes.draining < self._limits.max_draining
            for each in self._connections.get(url, ())
        )

    # Places.

    def take(self, request: Request, asking: Callable[[], Asking], sink: Sink) -> SocketExchange | None:
        """A place for a turn; ``None`` if it has to wait.

        Args:
            request: the request of the turn.
            asking: what the turn needs at this moment.
            sink: the receiver of the events.
        """
        self._check_open()
        if self._queues.get(request.url):
            return None  # those that came first come first
        return self._place(request, asking(), sink)

    async def wait_for_place(
        self, request: Request, asking: Callable[[], Asking], sink: Sink
    ) -> SocketExchange:
        """A place for a turn, after those that began to wait before. Cancelling leaves the queue."""
        placed = asyncio.get_running_loop().create_future()
        waiting = _Waiting(next(self._waits), request, asking, sink, placed)
        self._queues.setdefault(request.url, deque()).append(waiting)
        self._give_way()
        try:
            return await waiting.placed
        except asyncio.CancelledError:
            if waiting.placed.done() and not waiting.placed.cancelled():
                waiting.placed.result().abandon()  # the place came in the moment of the cancellation
            self._serve_queues()
            raise

    def take_alone(
        self, request: Request, asking: Callable[[], Asking], sink: Sink, settled: Callable[[bool], None]
    ) -> SocketExchange:
        """A place on a new connection, which takes no other turn before the first event of this one.

        Args:
            request: the request of the turn.
            asking: what the turn needs once it has the place.
            sink: the receiver of the events.
            settled: called once, with whether the turn had an event.
        """
        self._check_open()
        if len(self.connections) >= self._limits.max_connections:
            least = min(self.connections, key=lambda each: each.lanes.in_flight)
            self._is_placing = True  # what closes now makes room for this turn, not for one that waits
            least.retire()
            self._is_placing = False
        connection = self._dial(request.url)
        needs = asking()
        exchange = self._reserve(first_seat(needs, connection), connection, request, needs, sink)
        (run,) = connection.lanes.runs
        self._private[connection] = _Private(run, connection.lanes.max_in_flight, settled)
        connection.lanes.max_in_flight = 1
        return exchange

    def _place(self, request: Request, asking: Asking, sink: Sink) -> SocketExchange | None:
        url = request.url
        may_dial = len(self.connections) < self._limits.max_connections
        placement = assign(
            asking,
            self._connections.get(url, ()),
            Bounds(
                may_dial=may_dial,
                # Without lanes a new connection costs little, and evicting costs a full context.
                may_evict=self._named_lanes or not may_dial,
                max_draining=self._limits.max_draining,
            ),
            (each for other, group in self._connections.items() if other != url for each in group),
        )
        return self._carry_out(placement, request, asking, sink)

    def _carry_out(
        self, placement: Placement, request: Request, asking: Asking, sink: Sink
    ) -> SocketExchange | None:
        self._is_placing = True  # what closes now makes room for this turn, not for one that waits
        try:
            if isinstance(placement.closes, Connection):
                placement.closes.retire()
            dialled = self._dial(request.url) if placement.dials else None
        finally:
            self._is_placing = False
        seat = placement.seat
        if seat is None:
            if dialled is None:
                return None
            seat = first_seat(asking, dialled)
        connection = next(each for each in self._connections[request.url] if each.lanes is seat.group)
        return self._reserve(seat, connection, request, asking, sink)

    def _reserve(
        self, seat: Seat, connection: Connection, request: Request, asking: Asking, sink: Sink
    ) -> SocketExchange:
        lane = seat.lane or connection.lanes.new_lane()
        assert lane is not None, "placement adds lanes only where a name is left"
        run = connection.lanes.reserve(lane, sink, fork_of=seat.fork_of)
        lane.settle(asking.owner)
        if asking.owner is not None:
            asking.owner.home = lane
        return SocketExchange(
            request,
            connection,
            run,
            seat.plan,
            is_fork=seat.fork_of is not None,
            close_abandoned=self._limits.close_abandoned,
            largest_frame=self._largest_frame,
            largest_shared=min(self._largest_frame, self._largest_shared),
        )

    def _serve_queues(self) -> None:
        """Give free places to waiting turns, the oldest first."""
        if self._is_placing:
            return
        for url, queue in sorted(self._queues.items(), key=lambda each: each[1][0].number):
            while queue:
                first = queue[0]
                if not first.placed.done():
                    place = self._place(first.request, first.asking(), first.sink)
                    if place is None:
                        break
                    first.placed.set_result(place)
                queue.popleft()
            if not queue:
                self._queues.pop(url, None)
        self._give_way()

    def _give_way(self) -> None:
        """Retire a connection for the turn that has waited longest, if its URL has none.

        Connections to other URLs may never be idle: without this, their turns would overtake it for ever. One
        connection is retired at a time, so that there is one more than the maximum at most. A connection in
        doubt counts: it takes turns again, or is dead soon.
        """
        waiting = min(
            (queue[0] for queue in self._queues.values()), key=lambda each: each.number, default=None
        )
        if waiting is None:
            return
        own = self._connections.get(waiting.request.url, ())
        if any(each.takes_turns or each.is_open for each in own):
            return
        if any(each.is_retired for each in self._closing):
            return
        others = [each for each in self.connections if each not in self._private]
        if others:
            min(others, key=lambda each: each.lanes.in_flight).retire()

    # Connections.

    async def warm(self, url: str, number: int) -> Failure | None:
        """Have this many connections ready. Returns the failure of one that could not be made."""
        self._check_open()
        live = [each for each in self._connections.get(url, ()) if each.takes_turns]
        while len(live) < number and len(self.connections) < self._limits.max_connections:
            live.append(self._dial(url))
        for connection in live[:number]:
            failure = await connection.ready()
            if failure is not None:
                return failure
        return None

    def _dial(self, url: str) -> Connection:
        self._counters.add("dials")
        number = next(self._numbers)
        lanes = Lanes(
            named=self._named_lanes,
            max_in_flight=self._limits.max_in_flight,
            max_names=self._limits.max_lanes,
        )
        lanes.repeats_ids = self._repeats_ids
        log = wire_log(f"connection {number}", shows_content=self._log_content)
        if log is not None:
            log.note("dials %s", shown(url))
        connection = Connection(
            number,
            lanes,
            self._counters,
            self._notices,
            self._world,
            self._patience,
            self._on_change,
            log,
        )
        self._connections.setdefault(url, []).append(connection)
        self._in_background(self._make(connection, url))
        if self._upkeep is None:
            self._plan_upkeep()
        self._pulse.begin()
        return connection

    async def _make(self, connection: Connection, url: str) -> None:
        await connection.dial(self._connect(url), self._connect_s)
        if self._detects_lanes and connection.is_gateway:
            # This connection keeps to its default lane: named ones are never mixed with it.
            self._named_lanes, self._detects_lanes = True, False

    def _on_change(self, connection: Connection) -> None:
        """A place became free, or a connection became ready, received its first event, retired or ended."""
        if connection.has_received:
            self._redials.answered()
        if self._private:
            self._settle(connection)
        if connection.is_leaving:
            refused_bytes = connection.refused_bytes
            # A server that refuses a small message has another reason than its size.
            if refused_bytes is not None and refused_bytes > _SMALL_FRAME:
                self._largest_frame = min(self._largest_frame, refused_bytes - 1)
            for url, group in self._connections.items():
                if connection in group:
                    group.remove(connection)
                    self._closing.append(connection)
                    if connection.was_cut:
                        self._redials.cut(urlsplit(url).netloc)
            self._closing = [each for each in self._closing if each.is_closing]
        if self._queues:
            self._serve_queues()

    def _settle(self, connection: Connection) -> None:
        """Let other turns onto a connection for one turn alone, once that turn has an event or has ended."""
        private = self._private.get(connection)
        if private is None:
            return
        run = private.run
        if run.has_started or run.is_over or connection.is_leaving:
            del self._private[connection]
            connection.lanes.max_in_flight = private.max_in_flight
            private.settled(run.has_started or (run.was_sent and not connection.is_leaving))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = in_background(work, "trunkline pool")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Upkeep.

    def _look_after(self) -> None:
        """Replace old connections, and give up those whose drains take too long."""
        now = self._world.clock()
        for url, group in list(self._connections.items()):
            for connection in list(group):
                connection.give_up_drains(now - self._limits.drain_s)
                if self._is_due(connection, now):
                    self._replacing.add(connection)
                    self._in_background(self._replace(connection, self._dial(url)))
        for connection in list(self._closing):
            connection.give_up_drains(now - self._limits.drain_s)

    def _plan_upkeep(self) -> None:
        self._upkeep = self._world.call_later(self._limits.upkeep_s, self._keep_up)

    def _keep_up(self) -> None:
        self._look_after()
        self._upkeep = None
        if self.connections or self._closing:
            self._plan_upkeep()

    def _is_due(self, connection: Connection, now: float) -> bool:
        if connection.opened_at is None or not connection.takes_turns or connection in self._replacing:
            return False
        jitter_s = self._limits.age_jitter_s * connection.jitter
        return now - connection.opened_at >= self._limits.max_age_s - jitter_s

    async def _replace(self, old: Connection, new: Connection) -> None:
        """Once the new connection is ready, the old one takes no more turns, and closes after its last."""
        try:
            if await new.ready() is not None:
                return  # the old one still serves, and the next look tries again
        finally:
            self._replacing.discard(old)
        self._counters.add("rotations")
        log_rotation(old.number, new.number)
        old.retire()

    # The end.

    async def close(self, within_s: float) -> None:
        """End every connection and every turn on it. Sockets that do not close in time are dropped."""
        self._stop()
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
        """Drop every connection now. May be called when the event loop is closed."""
        self._stop()
        for connection in self.connections + self._closing:
            connection.drop()

    def _stop(self) -> None:
        self._closed = True
        if self._upkeep is not None:
            self._upkeep.cancel()
        self._pulse.end()
        cancel(self._tasks)
        queues, self._queues = self._queues, {}
        for queue in queues.values():
            for waiting in queue:
                with suppress(RuntimeError):  # the event loop is closed, and its tasks do not go on
                    if not waiting.placed.done():
                        waiting.placed.set_exception(_closed())

    def _check_open(self) -> None:
        if self._closed:
            raise _closed()

    def __repr__(self) -> str:
        return f"<Pool: {len(self.connections)} connections>"


def _closed() -> ClientClosed:
    return ClientClosed("the client is closed; create a new one")
