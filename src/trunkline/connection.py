"""One socket, pumped through its lanes.

A connection exists from the moment it is wanted: turns take their place on its lanes at once, and wait for
the dial together. It is always read. When it ends, for whatever reason, every turn on it hears of it, once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from copy import copy
from typing import TYPE_CHECKING

from ._protocol.decoding import decode
from ._protocol.events import (
    ErrorEvent,
    ReceivedEvent,
    ResponseCompleted,
    ResponseFailedEvent,
    ResponseIncomplete,
    UnknownEvent,
)
from .errors import ConnectFailed, ConnectionLost, DeadlineExceeded, NetworkError, ProtocolViolation
from .lane import Run
from .lanes import Lanes
from .metrics import PoolMetrics
from .wirelog import WireLog

if TYPE_CHECKING:
    from .websocket import Receiver, WebSocket

Dial = Callable[["Receiver"], Awaitable["WebSocket"]]

CONNECTION_LIMIT = "websocket_connection_limit_reached"


class Connection:
    """One socket and its lanes.

    Args:
        number: its number within the client, from 1.
        lanes: its lanes.
        metrics: where answers that nobody hears are counted.
        clock: seconds, for its age and for how long abandoned answers drain.
        on_change: called when a place became free, or the connection stopped taking turns.
        log: where its frames are written down; ``None`` when nobody listens.
    """

    def __init__(
        self,
        number: int,
        lanes: Lanes,
        metrics: PoolMetrics,
        clock: Callable[[], float],
        on_change: Callable[[Connection], None],
        log: WireLog | None = None,
    ) -> None:
        self.number = number
        self.lanes = lanes
        self._hearing = lanes.hearing
        self.is_ready = False
        self.is_retired = False
        self.opened_at: float | None = None
        self.jitter = random.random()
        self._metrics = metrics
        self._clock = clock
        self._on_change = on_change
        self._log = log
        self._socket: WebSocket | None = None
        self._is_gone = False
        self._dialled: asyncio.Future[NetworkError | DeadlineExceeded | None]
        self._dialled = asyncio.get_running_loop().create_future()

    @property
    def takes_turns(self) -> bool:
        """Whether new turns may be placed here."""
        return self.lanes.is_open and not self.is_retired

    async def dial(self, dial: Dial, within_s: float | None) -> None:
        """Make the connection. Whoever waits in `ready` hears how it went; nothing is raised here."""
        error: NetworkError | DeadlineExceeded | None = None
        try:
            async with asyncio.timeout(within_s) as limit:
                self._socket = await dial(self)
        except NetworkError as failure:
            error = failure
        except asyncio.CancelledError:
            self._conclude(ConnectFailed("the client was closed while connecting"))
            raise
        except Exception as failure:  # an api_key function of the caller's, for example
            if isinstance(failure, TimeoutError) and within_s is not None and limit.expired():
                error = DeadlineExceeded("connect", within_s)
            else:
                raised = type(failure).__name__
                error = ConnectFailed(f"connecting raised {raised}; if api_key is a function, check it")
                error.__cause__ = failure
        self._conclude(error)

    def _conclude(self, error: NetworkError | DeadlineExceeded | None) -> None:
        if self._dialled.done():
            return
        self.is_ready = error is None and self.lanes.is_open
        self.opened_at = self._clock()
        if error is None:
            self._note("is open")
        else:
            self._note("could not be made: %s", error)
            self.lanes.close()
            self._metrics.failed_dials += 1
        self._dialled.set_result(error)
        self._on_change(self)

    async def ready(self) -> None:
        """Wait for the dial. Cancelling ends the wait, not the dial.

        Raises:
            NetworkError: the connection could not be made.
            DeadlineExceeded: it was not made in time.
        """
        error = await asyncio.shield(self._dialled)
        if error is not None:
            raise copy(error) from error.__cause__  # several turns may wait for one dial

    def send(self, run: Run, frame: bytes) -> None:
        """Put a request on its lane.

        Raises:
            ConnectionLost: the socket is dead; nothing was sent.
        """
        socket = self._open_socket("the request")
        self.lanes.sending(run)
        self._write(socket, run, "response.create", frame)

    def steer(self, run: Run, frame: bytes) -> None:
        """Put a steer on the socket; the response that it names decides the lane.

        Raises:
            ConnectionLost: the socket is dead; nothing was sent.
        """
        socket = self._open_socket("the steer")
        self.lanes.steering(run)
        self._write(socket, run, "response.steer", frame)

    def _open_socket(self, what: str) -> WebSocket:
        if self._socket is None or not self._socket.is_open:
            raise ConnectionLost(f"the connection was lost before {what} was sent")
        return self._socket

    def _write(self, socket: WebSocket, run: Run, kind: str, frame: bytes) -> None:
        socket.send(frame)
        if self._log is not None:
            self._log.sent(kind, frame, run.lane.name)

    def abandon(self, run: Run) -> None:
        """Nobody waits for this run any more. One that was not sent gives its place back."""
        if run.ended or run.sink is None:
            return
        self.lanes.abandon(run)
        if run.ended:
            self._after_end()
        else:
            run.left_at = self._clock()
            self._metrics.abandoned += 1

    def give_up_drains(self, left_before: float) -> None:
        """Answers that drain since then will not end any more: do without this connection."""
        stuck = [
            run for run in self.lanes.runs if run.sent and run.sink is None and run.left_at <= left_before
        ]
        for run in stuck:
            self.lanes.withdraw(run)
        if stuck:
            self.retire()

    def on_message(self, payload: bytes) -> None:
        """One frame from the socket."""
        try:
            event = decode(payload)
        except ProtocolViolation as violation:
            self._fail(violation)
            return
        if self._log is not None:
            self._log.received(event)
        if event.is_delta:  # it changes nothing but the text, and takes the short way
            deliver = self._hearing.get(event.stream_id)
            if deliver is not None:
                deliver(event)
                return
        if type(event) is ErrorEvent and event.stream_id is None and event.code == CONNECTION_LIMIT:
            self._limit_reached(event)
            return
        run = self.lanes.route(event)
        if run is None:
            self._unrouted(event)
            return
        sink = run.sink
        if sink is not None:
            sink.deliver(event)
        if run.ended:
            if sink is None:
                self._count_drained(event)
            self._after_end()

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        """The socket ended: every turn on it hears of it."""
        self._is_gone = True
        self._note("is closed: %s", error)
        self._end(error)

    def retire(self) -> None:
        """Take no new turns, and close after the last response."""
        self.is_retired = True
        self._note("takes no new turns")
        if self.lanes.in_flight == 0 and self._socket is not None:
            self._socket.close()
        self._on_change(self)

    @property
    def is_dialling(self) -> bool:
        """It is wanted, and not made yet."""
        return not self._dialled.done()

    @property
    def is_unheard(self) -> bool:
        """Nobody waits for anything on it."""
        return all(run.sink is None for run in self.lanes.runs)

    @property
    def is_closing(self) -> bool:
        """It takes no turns any more, and its socket is not gone yet."""
        return self._socket is not None and not self._is_gone and not self.takes_turns

    def shut(self) -> None:
        """End every turn on it and close."""
        self._end(ConnectionLost("the client was closed"))
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """Drop the socket now."""
        if self._socket is not None:
            self._socket.abort()

    def drop(self) -> None:
        """End every turn on it and drop the socket now. May be called when the event loop is closed."""
        self._is_gone = True
        self._end(ConnectionLost("the client was closed"))
        if self._socket is not None:
            self._socket.drop()

    async def closed(self) -> None:
        """Wait until the socket is gone."""
        if self._socket is not None:
            await self._socket.wait_closed()

    def _unrouted(self, event: ReceivedEvent) -> None:
        self._metrics.strays += 1
        if event.stream_id is not None or not self.lanes.in_flight:
            return
        if isinstance(event, ErrorEvent):
            self._fail(
                ProtocolViolation(
                    "received an error without stream_id that may concern any of several responses"
                )
            )
        elif self.lanes.named and not isinstance(event, UnknownEvent):
            self._fail(
                ProtocolViolation(
                    "received part of a response without stream_id on a connection with lanes; "
                    "if the server does not support lanes, create the client with lanes=False"
                )
            )

    def _limit_reached(self, event: ErrorEvent) -> None:
        """The hour is over. What has begun may still finish; what has not is asked for elsewhere."""
        for run in self.lanes.refuse_unstarted():
            if run.sink is not None:
                run.sink.deliver(event)
        self.retire()

    def _fail(self, error: NetworkError) -> None:
        """The socket is not trusted any more."""
        self._note("is not trusted any more: %s", error)
        self._end(error)
        self.abort()

    def _end(self, error: NetworkError) -> None:
        self.is_ready = False
        for run in self.lanes.close():
            if run.sink is not None:
                lost = copy(error)  # each turn gets its own exception
                lost.__cause__ = error.__cause__
                lost.sent = run.sent
                lost.started = run.response_id is not None
                run.sink.fail(lost)
        self._on_change(self)

    def _count_drained(self, event: ReceivedEvent) -> None:
        if isinstance(event, ResponseCompleted | ResponseIncomplete | ResponseFailedEvent):
            self._metrics.count_abandoned_usage(event.response.usage)

    def _note(self, text: str, *values: object) -> None:
        if self._log is not None:
            self._log.note(text, *values)

    def _after_end(self) -> None:
        if self.is_retired and self.lanes.in_flight == 0 and self._socket is not None:
            self._socket.close()
        self._on_change(self)

    def __repr__(self) -> str:
        return f"<Connection {self.number}: {self._state}, {self.lanes.in_flight} in flight>"

    @property
    def _state(self) -> str:
        if not self.lanes.is_open:
            return "closed"
        if self.is_retired:
            return "retired"
        return "ready" if self.is_ready else "dialling"
