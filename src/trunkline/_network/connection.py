"""One socket and its lanes.

A connection exists from the moment it is needed: turns take their places on its lanes at once and wait for
the dial together. It is always read. When it ends, each turn on it gets one failure. Its states::

    DIALLING ──dialled──▶ READY ──retire──▶ RETIRED ──last run ended──▶ CLOSING ──on_close──▶ CLOSED
        │                 │  ▲ bytes           ▲  │                        ▲                    ▲
        │         silence ▼  │                 │  │                        │                    │
        │                DOUBTED ────retire────┘  │                        │                    │
        │                   └─────────────────────┴── shut, violation, ────┘                    │
        │                                             dead peer                                 │
        └── the dial failed; the socket was lost (from every state) ────────────────────────────┘

    DIALLING  turns may be placed; none can be sent.
    READY     turns are placed and sent.
    DOUBTED   the answer to a PING is late: runs in flight may end; no turn is placed.
    RETIRED   runs in flight may end; no turn is placed.
    CLOSING   every run has ended; the socket is not gone yet.
    CLOSED    the socket is gone, or was never made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from enum import IntEnum, auto
from functools import partial
from typing import Final, TypeAlias

from .._decisions.liveness import Patience, Verdict
from .._observe.metrics import PoolCounters
from .._observe.notices import Notices
from .._observe.wirelog import WireLog
from .._protocol.decoding import decode
from .._protocol.events import (
    ErrorEvent,
    EventKind,
    ReceivedEvent,
    ResponseEvent,
    SteerAccepted,
    SteerEvent,
    UnknownEvent,
)
from .._protocol.failure import TOO_LARGE, Failure, FailureKind
from .._protocol.lane import Run
from .._protocol.lanes import Lanes
from .._protocol.refusals import CONNECTION_LIMIT
from .._protocol.steers import ACKNOWLEDGED_WITHIN_S
from ..errors import (
    ConnectFailed,
    ConnectFault,
    ConnectionLost,
    DeadlineExceeded,
    NetworkError,
    ProtocolViolation,
)
from .peer import Peer
from .reasons import system_message
from .receiver import Dialling
from .world import Socket, World

Connect: TypeAlias = Callable[[Dialling], Awaitable[Socket]]


class ConnectionState(IntEnum):
    """How far a connection has come, in this order."""

    DIALLING = auto()
    READY = auto()
    DOUBTED = auto()
    RETIRED = auto()
    CLOSING = auto()
    CLOSED = auto()


_TRANSITIONS: Final = {
    ConnectionState.DIALLING: {
        ConnectionState.READY,
        ConnectionState.RETIRED,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    },
    ConnectionState.READY: {
        ConnectionState.DOUBTED,
        ConnectionState.RETIRED,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    },
    ConnectionState.DOUBTED: {
        ConnectionState.READY,
        ConnectionState.RETIRED,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    },
    ConnectionState.RETIRED: {ConnectionState.CLOSING, ConnectionState.CLOSED},
    ConnectionState.CLOSING: {ConnectionState.CLOSED},
    ConnectionState.CLOSED: set[ConnectionState](),
}


# Bound once: looking up a member of an enumeration costs more than comparing it.
_READY: Final = ConnectionState.READY
_DOUBTED: Final = ConnectionState.DOUBTED
_RETIRED: Final = ConnectionState.RETIRED
_LARGE_FRAME: Final = 16 * 1024
"""The number of bytes above which a frame may take long to leave."""


class Connection:
    """One socket and its lanes.

    Args:
        number: its number within the client, from 1.
        lanes: its lanes.
        counters: where answers without a reader are counted.
        notices: what operators are told.
        world: the clock, for ages and drains, and chance, for the jitter of its age.
        patience: the silence of the server that is accepted.
        on_change: called when a place became free, the first event was received, or the connection stopped
            taking turns.
        log: the log of its frames; ``None`` for none.

    Attributes:
        opened_at: when the dial ended; ``None`` before.
        jitter: a random number from 0 to 1.
        has_received: a response was received, or an error. A socket without either may carry nothing.
        was_cut: the server has ended it before any event, while turns waited.
        refused_bytes: the size of the request for which the server closed the connection; ``None`` if it
            closed it for no request's size.
    """

    def __init__(
        self,
        number: int,
        lanes: Lanes,
        counters: PoolCounters,
        notices: Notices,
        world: World,
        patience: Patience,
        on_change: Callable[[Connection], None],
        log: WireLog | None = None,
    ) -> None:
        self.number = number
        self.lanes = lanes
        self.opened_at: float | None = None
        self.jitter: float = world.random()
        self.has_received: bool = False
        self.was_cut: bool = False
        self.refused_bytes: int | None = None
        self._delta_sinks = lanes.delta_sinks
        self._counters = counters
        self._notices = notices
        self._clock = world.clock
        self._patience = patience
        self._peer: Peer | None = None  # while the socket is open
        self._call_later = world.call_later
        self._on_change = on_change
        self._log = log
        self._socket: Socket | None = None
        self._state = ConnectionState.DIALLING
        self._end_of: Failure | None = None
        loop = asyncio.get_running_loop()
        self._dialled: asyncio.Future[Failure | None] = loop.create_future()
        # The first refusal of a dial that is repeated.
        self._refused: asyncio.Future[Failure] = loop.create_future()

    # What the pool sees.

    @property
    def is_ready(self) -> bool:
        """Whether requests can be sent."""
        return self._state is _READY

    @property
    def takes_turns(self) -> bool:
        """Whether new turns may be placed here."""
        return self._state <= _READY

    @property
    def is_gateway(self) -> bool:
        """Whether the server has named itself a gateway with lanes."""
        return self._socket is not None and self._socket.is_gateway

    @property
    def is_open(self) -> bool:
        """Whether the socket is open, and turns may be placed here now or later."""
        return self._state is _READY or self._state is _DOUBTED

    @property
    def is_leaving(self) -> bool:
        """Whether no turn will be placed here any more."""
        return self._state >= _RETIRED

    @property
    def is_dialling(self) -> bool:
        """Whether the dial has not ended."""
        return not self._dialled.done()

    @property
    def is_retired(self) -> bool:
        """Whether it only waits for its runs to end."""
        return self._state is ConnectionState.RETIRED

    @property
    def is_closing(self) -> bool:
        """Whether it takes no turns, and its socket is not gone yet."""
        if self._socket is None:
            return False
        return self._state is ConnectionState.RETIRED or self._state is ConnectionState.CLOSING

    @property
    def is_unread(self) -> bool:
        """Whether no run on it has a reader."""
        return all(run.sink is None for run in self.lanes.runs)

    async def dial(self, connect: Connect, within_s: float | None) -> None:
        """Make the connection. Nothing is raised: `ready` tells the result."""
        failure: Failure | None = None
        try:
            async with asyncio.timeout(within_s) as limit:
                self._socket = await connect(self)
        except (NetworkError, DeadlineExceeded) as error:
            failure = Failure.of(error)
        except asyncio.CancelledError:
            self._on_dialled(Failure.connect("the client was closed while connecting"))
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and within_s is not None and limit.expired():
                failure = self.refusal or Failure.deadline("connect", within_s)
            else:
                why = f"connecting raised {type(error).__name__}"
                if isinstance(error, OSError):  # of this machine: no file descriptor is free, for example
                    why = f"a connection cannot be opened: {system_message(error)}"
                fault: ConnectFault = "unreachable" if isinstance(error, OSError) else "other"
                failure = Failure.connect(why, fault=fault, cause=error)
        self._on_dialled(failure)

    async def ready(self, *, patient: bool = True) -> Failure | None:
        """Wait for the dial. Returns the failure if it failed. Cancelling ends the wait, not the dial.

        Args:
            patient: wait for repetitions too; otherwise the first refusal ends the wait.
        """
        if patient:
            return await asyncio.shield(self._dialled)
        await asyncio.wait((self._dialled, self._refused), return_when=asyncio.FIRST_COMPLETED)
        return self._dialled.result() if self._dialled.done() else self._refused.result()

    @property
    def refusal(self) -> Failure | None:
        """Why a dial that is being repeated has not succeeded."""
        return self._refused.result() if self._refused.done() else None

    def retire(self) -> None:
        """Take no new turns, and close after the last run."""
        if not self.is_leaving:
            self._enter(_RETIRED)
            self._note("takes no new turns")
        self._close_if_unused()
        self._on_change(self)

    def give_up_drains(self, left_before: float) -> None:
        """Retire if an answer drains since then: it will not end any more, and holds its lane."""
        stuck = [
            run for run in self.lanes.runs if run.was_sent and run.sink is None and run.left_at <= left_before
        ]
        for run in stuck:
            self.lanes.withdraw(run)
        if stuck:
            self.retire()

    def shut(self) -> None:
        """End every run and close."""
        self._end(Failure.lost("the client was closed"))
        if self._socket is not None:
            self._socket.close()

    def drop(self) -> None:
        """End every run and drop the socket now. May be called when the event loop is closed."""
        self._end(Failure.lost("the client was closed"))
        if self._socket is not None:
            self._socket.drop()
        self._enter(ConnectionState.CLOSED)

    def abort(self) -> None:
        """Drop the socket now."""
        if self._socket is not None:
            self._socket.abort()

    async def closed(self) -> None:
        """Wait until the socket is gone."""
        if self._socket is not None:
            await self._socket.wait_closed()

    # The life of the peer.

    def look(self, late_s: float = 0.0) -> tuple[Verdict, float] | None:
        """Judge whether the peer lives, and send a PING that is due.

        A look that comes late is one of a process that did not run, because it was stopped or the machine is
        busy: the answer to a PING may wait to be read.

        Returns the verdict and the time until the next look, in seconds; ``None`` if the socket is not open.
        A dead connection is left to the caller: see `give_up`.
        """
        seen = self._peer.look(self._waiting_since(), late_s) if self._peer is not None else None
        if seen is None:
            return None
        if seen[0] is Verdict.DOUBTED and self._state is _READY:
            self._note("is doubted: the answer to a ping is late")
            self._enter(_DOUBTED)
        elif seen[0] is Verdict.ALIVE and self._state is _DOUBTED:
            self._note("is not doubted any more")
            self._enter(_READY)
            self._on_change(self)
        return seen

    def distrust(self) -> None:
        """Take no new turns: the server did not answer a request in time. A PING tells whether it lives."""
        if not self.is_leaving:
            self._notices.dead(self.number, "the server was silent until a deadline")
        self.retire()
        if self._peer is not None:
            self._peer.question()

    def suspect(self) -> None:
        """Take no turn before a sign of life, if there was none lately: the peer of another one is dead."""
        if self._peer is not None and self._peer.is_silent():
            self._peer.question()
            if self._state is _READY:
                self._enter(_DOUBTED)

    def give_up(self) -> None:
        """End every run and drop the socket: the peer is dead."""
        within_s = self._peer.answer_within_s if self._peer is not None else self._patience.dead_s
        failure = Failure.lost(f"the server did not answer a ping within {within_s:g} s")
        self._note("is dead: %s", failure.message)
        self._notices.dead(self.number, failure.message)
        self._end(failure)
        self.abort()

    @property
    def departed_at(self) -> float:
        """When a part of the requests that were sent was last seen to leave this machine."""
        return self._peer.departed_at if self._peer is not None else 0.0

    def _waiting_since(self) -> float | None:
        """When the oldest request was sent that has a reader; ``None`` without one."""
        if not self.lanes.in_flight:
            return None
        waiting = (run.sent_at for run in self.lanes.runs if run.was_sent and run.sink is not None)
        return min(waiting, default=None)

    # What an exchange does.

    def send(self, run: Run, frame: bytes) -> Failure | None:
        """Send the request of a run. A failure means that the socket is dead and nothing was sent."""
        return self._write(run, "response.create", frame, self.lanes.sending)

    def steer(self, run: Run, frame: bytes) -> Failure | None:
        """Send a steer; the response that it names decides the lane."""
        failure = self._write(run, "response.steer", frame, self.lanes.steering)
        if failure is None:
            give_up = partial(self._give_up_steer, run, run.steers_sent)
            self._call_later(ACKNOWLEDGED_WITHIN_S, give_up)
        return failure

    def abandon(self, run: Run) -> None:
        """The caller left. A run that was sent drains; another one gives its place back."""
        if run.is_over or run.sink is None:
            return
        self.lanes.abandon(run, self._clock())
        if run.is_over:
            self._after_run()
        else:
            self._counters.add("abandoned")

    # What the dial and the socket bring.

    def on_refusal(self, error: ConnectFailed) -> None:
        """The server cannot be reached, and is dialled again."""
        self._note("is not made yet: %s", error)
        if not self._refused.done():
            self._refused.set_result(Failure.of(error))

    def on_message(self, payload: bytes) -> None:
        """Take one frame."""
        try:
            event = decode(payload)
        except ProtocolViolation as violation:
            self._fail(Failure.of(violation))
            return
        if self._log is not None:
            self._log.received(event)
        # A delta of a response that has begun changes no state here. See
        # docs/design/0006-shortcut-for-text-deltas.md.
        if event.is_delta:
            deliver_delta = self._delta_sinks.get(event.stream_id)
            if deliver_delta is not None:
                deliver_delta(event)
                return
        # The age limit concerns the connection: it takes no further requests. With a stream_id it refuses the
        # request of that lane, else all requests that have not begun.
        if type(event) is ErrorEvent:
            if event.code == CONNECTION_LIMIT:
                if event.stream_id is None:
                    self._on_age_limit(event)
                    return
                self.retire()
            event = self.lanes.refused_steer(event) or event
        run = self.lanes.route(event)
        if not self.has_received:
            self.has_received = True
            self._on_change(self)
        if run is None:
            self._on_stray(event)
            return
        sink = run.sink
        if sink is not None:
            sink.deliver(event)
        if run.is_over:
            if sink is None and isinstance(event, ResponseEvent):
                self._counters.add_abandoned_usage(event.response.usage)
                run.drained(event.response)
            self._after_run()

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        """The socket is gone."""
        self._note("is closed: %s", error)
        failure = Failure.of(error)
        if not self.has_received and failure.close_code != TOO_LARGE:
            self.was_cut = self.lanes.in_flight > 0
        # A connection that was retired or doubted has another reason to end than one of its requests.
        sent = sum(run.was_sent for run in self.lanes.runs) if self._state is _READY else 0
        self._end(replace(failure, neighbours=max(0, sent - 1)))
        if self._state is not ConnectionState.CLOSED:
            self._enter(ConnectionState.CLOSED)
            self._on_change(self)

    def _on_stray(self, event: ReceivedEvent) -> None:
        self._counters.add("strays")
        # The service accepts a steer that was given up. Its successor may begin after the next request was
        # sent on the lane, and would be taken for the answer to it.
        if isinstance(event, SteerAccepted):
            self.retire()
        # An event with a lane harms that lane at most. Without runs in flight it harms none.
        if event.stream_id is not None or not self.lanes.in_flight:
            return
        # An error that names no lane may answer any request, so every answer is in doubt.
        if event.kind is EventKind.ERROR:
            self._fail(
                Failure.violation(
                    "received an error without stream_id that may concern any of several responses"
                )
            )
        # Output that names no lane may be part of any answer. Unknown events without output are harmless, and
        # so are outcomes of steers, which name a response.
        elif self.lanes.named and not isinstance(event, UnknownEvent | SteerEvent):
            self._fail(
                Failure.violation(
                    "received part of a response without stream_id on a connection with lanes; "
                    "if the server does not support lanes, create the client with lanes=False"
                )
            )

    def _on_age_limit(self, event: ErrorEvent) -> None:
        """Responses that have begun may still end. Requests that have not begun are refused."""
        for run in self.lanes.refuse_unstarted():
            if run.sink is not None:
                run.sink.deliver(event)
        self.retire()

    def _give_up_steer(self, run: Run, number: int) -> None:
        """The server ignores a steer: nothing waits for it any more, and the answer goes on without it."""
        event = self.lanes.unanswered_steer(run, number)
        if event is None or self.lanes.route(event) is None:
            return
        if run.sink is not None:
            run.sink.deliver(event)
        if run.is_over:
            self._after_run()

    # State.

    def _on_dialled(self, failure: Failure | None) -> None:
        if self._dialled.done():
            return
        self.opened_at = self._clock()
        if self._socket is not None and self._state < ConnectionState.CLOSING:
            self._peer = Peer(self._socket, self._patience, self._clock)
        if failure is not None:
            self._note("could not be made: %s", failure.message)
            self._counters.add("failed_dials")
            self.lanes.close()
            self._enter(ConnectionState.CLOSED)
        elif self._state is ConnectionState.DIALLING:
            self._note("is open")
            self._enter(ConnectionState.READY)
        self._dialled.set_result(failure or self._end_of)
        self._close_if_unused()
        self._on_change(self)

    def _write(self, run: Run, kind: str, frame: bytes, record: Callable[[Run], None]) -> Failure | None:
        socket = self._socket
        if socket is None or not socket.is_open:
            return self._end_of or Failure.lost(f"the connection was lost before the {kind} was sent")
        record(run)
        run.size_bytes = len(frame)
        run.sent_at = self._clock()
        try:
            socket.send(frame)
        except ConnectionLost as error:  # the socket ended inside of the call
            return Failure.of(error)
        if run.size_bytes > _LARGE_FRAME and self._peer is not None:
            self._peer.observe()  # so that the next look sees that it leaves
        if self._log is not None:
            self._log.sent(kind, frame, run.lane.name)
        return None

    def _fail(self, failure: Failure) -> None:
        """Give the socket up: what it brings cannot be attributed any more."""
        self._note("is not trusted any more: %s", failure.message)
        self._end(failure)
        self.abort()

    def _end(self, failure: Failure) -> None:
        """End every run with this failure."""
        if self._state in (ConnectionState.CLOSING, ConnectionState.CLOSED):
            return
        self._end_of = failure
        self._enter(ConnectionState.CLOSING)
        runs = self.lanes.close()
        refused = _refused(runs) if failure.close_code == TOO_LARGE else None
        if refused is not None:
            self.refused_bytes = refused.size_bytes
        for run in runs:
            if run.sink is not None:
                of_run = failure.on_request(sent=run.was_sent, started=run.has_started)
                if run is refused:
                    of_run = replace(of_run, kind=FailureKind.TOO_LARGE)
                run.sink.fail(of_run)
        self._on_change(self)

    def _after_run(self) -> None:
        self._close_if_unused()
        self._on_change(self)

    def _close_if_unused(self) -> None:
        if self._state is _RETIRED and not self.lanes.in_flight and self._socket is not None:
            self._enter(ConnectionState.CLOSING)
            self.lanes.close()
            self._socket.close()

    def _enter(self, state: ConnectionState) -> None:
        if state is not self._state:
            assert state in _TRANSITIONS[self._state], f"{self._state} does not lead to {state}"
            self._state = state
            if state >= ConnectionState.CLOSING:
                self._peer = None

    def _note(self, text: str, *values: object) -> None:
        if self._log is not None:
            self._log.note(text, *values)

    def __repr__(self) -> str:
        return f"<Connection {self.number}: {self._state.name}, {self.lanes.in_flight} in flight>"


def _refused(runs: Iterable[Run]) -> Run | None:
    """The run whose request was too large: the server does not name it, and has not begun its response."""
    waiting = [run for run in runs if run.was_sent and not run.has_started]
    return max(waiting, key=lambda run: run.size_bytes, default=None)
