"""Inbox of one attempt: the visible events that its caller has not read, and the wait for the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._network.exchange import Exchange
from .._network.wakeups import Wait, Wakeups
from .._network.world import World
from .._protocol.events import EventKind, OutputTextDelta, ReceivedEvent, ServerEvent
from .._protocol.failure import Failure, FailureKind
from .._protocol.items import Item, TurnInput
from .._protocol.open_items import are_slow
from .._protocol.ordering import RECENT
from .._protocol.reception import Reception, ReceptionPhase
from .._protocol.steers import Steer, SteerState
from ..errors import SteerRefused, TurnError, UsageError
from ..options import Deadlines, Due, Phase
from .watch import Watch

_FOUND_HERE: Final = frozenset(
    {FailureKind.VIOLATION, FailureKind.IGNORED, FailureKind.DEADLINE, FailureKind.SLOW_CONSUMER}
)
"""Failures that end only the wait for the answer: the service still works on it, so its lane drains."""

REASON_WITHIN_S: Final = 0.5
"""The time in which the reason of a response that failed without one may follow."""
_WATCHED: Final = {
    ReceptionPhase.WAITING: Phase.FIRST_EVENT,
    ReceptionPhase.BEGUN: Phase.FIRST_OUTPUT,
    ReceptionPhase.OUTPUT: Phase.BETWEEN_EVENTS,
}


MAX_OPEN_STEERS: Final = 16
"""The steers of one answer that may wait for their acknowledgement. OpenAI queues 8."""
_LEAST_BYTES: Final = 8
"""The size below which no event is: so many bytes bring at most one event."""
_MEASURED_BYTES: Final = 2**16
"""Unread events are measured at most once for so many bytes."""


# Bound once: looking an enumeration's member up costs more than the rest of a comparison.
_WAITING: Final = ReceptionPhase.WAITING
_OUTPUT: Final = EventKind.OUTPUT
_ERROR: Final = EventKind.ERROR
_STEER: Final = EventKind.STEER


class Inbox:
    """The sink of one exchange, for one reader at a time.

    Args:
        deadlines: the limits of the turn.
        started_at: the start of the turn, on the clock of ``world``.
        max_events: the number of unread events above which the attempt fails.
        max_bytes: the size of the unread events above which the attempt fails.
        wakeups: resumes readers after the socket was read.
        world: the clocks.

    Attributes:
        reception: what was received.
        events: the visible events that were not read.
        wait: what a reader awaits while ``events`` is empty and the inbox is not over.
        is_over: no further event is coming: see ``reception.final`` and ``reception.failure``.
        was_read: the reader has taken events, so that the request must not be sent again.
        received_bytes: the size of all frames.
        progress_at: when the latest output arrived; before it, the first event; before that, when the latest
            part of the request left.
        alive_at: when the latest event without output, or the latest keep-alive comment, arrived.
        on_text: a function that takes the text deltas while the reader waits, without resuming it.
    """

    __slots__ = (
        "__weakref__",
        "_acknowledgements",
        "_clock",
        "_exchange",
        "_look_at",
        "_max_bytes",
        "_max_events",
        "_measure_at",
        "_ordering",
        "_wall_clock",
        "_watch",
        "alive_at",
        "events",
        "is_over",
        "on_text",
        "progress_at",
        "received_bytes",
        "reception",
        "wait",
        "was_read",
    )

    def __init__(
        self,
        deadlines: Deadlines,
        *,
        started_at: float,
        max_events: int,
        max_bytes: int,
        wakeups: Wakeups,
        world: World,
    ) -> None:
        self.reception: Reception = Reception()
        self.events: deque[ServerEvent] = deque()
        self.wait: Wait = Wait(wakeups)
        self.is_over: bool = False
        self.was_read: bool = False
        self.received_bytes: int = 0
        self.on_text: Callable[[OutputTextDelta], None] | None = None
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._measure_at = max_bytes  # the value of `received_bytes` at which unread events are measured
        self._look_at = min(max_bytes, max_events * _LEAST_BYTES)  # and that at which they are counted
        self._clock = world.clock
        self._wall_clock = world.wall_clock
        self._ordering = self.reception.ordering
        self.progress_at: float = started_at
        self.alive_at: float = started_at
        self._watch = Watch(deadlines, started_at, world, self)
        self._exchange: Exchange | None = None
        self._acknowledgements: tuple[tuple[Steer, asyncio.Future[None]], ...] = ()

    def listen_to(self, exchange: Exchange) -> None:
        """The request was sent: events of this exchange follow."""
        self._exchange = exchange
        self.progress_at = self._clock()
        if not self.is_over:
            self._watch.enter(_WATCHED[self.reception.phase])

    # The sink.

    def deliver_delta(self, event: ReceivedEvent) -> None:
        """Take one delta of a response that has begun.

        The shortcut for the next text delta of a running text; see
        docs/design/0006-shortcut-for-text-deltas.md. Everything else takes the way of `deliver`.
        """
        reception, ordering, number = self.reception, self._ordering, event.sequence_number
        if not (reception.is_speaking and type(event) is OutputTextDelta and number == ordering.expected_now):
            self.deliver(event)
            return
        frame = event.raw
        ordering.expected_now = number + 1
        ordering.recent[number & RECENT] = hash(frame)
        self.progress_at = self._clock()
        self.received_bytes += len(frame)
        wait = self.wait
        if wait.is_awaited:  # all earlier events were read
            if self.on_text is not None:
                wait.context.run(self.on_text, event)
            else:
                self.events.append(event)
                wait.end()
        elif self.received_bytes < self._look_at or self._has_room(1):
            self.events.append(event)
        else:
            self._overflow()

    def deliver(self, event: ReceivedEvent) -> None:
        """Take one event."""
        now = self._clock()
        self.received_bytes += len(event.raw)
        reception, kind = self.reception, event.kind
        phase = reception.phase
        # Life-cycle and keep-alive events do not put off the first output.
        if kind is _OUTPUT or phase is _WAITING:
            self.progress_at = now
        else:
            self.alive_at = now
        if kind is _OUTPUT and not reception.ordering.held:
            visible = reception.receive(event, now)
        else:  # only these can end a response
            exchange = self._exchange
            visible = reception.receive(
                event,
                now,
                epoch_s=self._wall_clock() if kind is _ERROR else 0.0,
                may_go_on=exchange is not None and exchange.may_go_on,
            )
        if (
            self.received_bytes >= self._look_at
            and not reception.phase.is_over
            and not self._has_room(len(visible))
        ):
            self._overflow()
            return
        if visible:
            self.events.extend(visible)
        if kind is _STEER:
            self._acknowledge()
        if reception.phase is not phase and not self.is_over:
            self._on_phase()
        if visible or self.is_over:
            self.wait.end()

    def on_keep_alive(self) -> None:
        """The server is alive, and has no event yet."""
        self.alive_at = self._clock()

    def fail(self, failure: Failure) -> None:
        """End without a response. Does nothing after the end."""
        if self.is_over:
            return
        self.events.extend(self.reception.release(self._clock()))
        self.reception.fail(failure)
        self._on_phase()
        self.wait.end()

    # The watch.

    @property
    def is_slow(self) -> bool:
        """Whether only reasoning and hosted tools are open, which may be silent for long."""
        return are_slow(self.reception.open_items)

    def on_due(self, due: Due) -> None:
        """Nothing arrived in time."""
        exchange = self._exchange
        if due.phase is Phase.FIRST_EVENT and exchange is not None:
            departed_at = exchange.departed_at
            if departed_at > self.progress_at:  # the request was still leaving: the phase began later
                self.progress_at = departed_at
                self._watch.enter(Phase.FIRST_EVENT)
                return
        started = self.reception.has_started
        self.fail(Failure.deadline(due.phase, due.waited_s, sent=True, started=started))

    def on_silence(self) -> None:
        """The reason of a failed response does not follow."""
        self.fail(Failure.lost("the service gave no reason", sent=True, started=True))

    # The turn.

    def take(self) -> deque[ServerEvent]:
        """The events, for the reader to empty. From now on the request must not be sent again."""
        self.was_read = True
        return self.events

    def leave(self) -> None:
        """The caller left: the answer drains."""
        self._watch.end()
        self._lose_steers(
            UsageError("the stream was closed before the service accepted or refused the steer")
        )
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self.wait.end()  # another task may wait for an event that will not come

    def steer(self, given: TurnInput, items: list[Item]) -> asyncio.Future[None]:
        """Record a steer that was sent. The future ends when the service has acknowledged it.

        It ends with a `SteerRefused` if the input was handed back, with a `TurnError` if the attempt failed,
        and with a `UsageError` if the stream was closed before.
        """
        steer = self.reception.steer(given, items)
        acknowledged = asyncio.get_running_loop().create_future()
        self._acknowledgements = (*self._acknowledgements, (steer, acknowledged))
        return acknowledged

    def check_takes_steer(self, given: TurnInput) -> None:
        """Refuse a steer while too many are not acknowledged: a slow socket would buffer them without bound.

        Raises:
            SteerRefused: nothing was sent.
        """
        open_steers = sum(steer.state is SteerState.OPEN for steer in self.reception.steers.all)
        if open_steers >= MAX_OPEN_STEERS:
            raise SteerRefused(
                f"the service has not acknowledged {open_steers} earlier steers; wait until it has",
                code="too_many_pending_steers",
                input=given,
            )

    @property
    def has_failed_a_steer(self) -> bool:
        """Whether the attempt failed before a steer was acknowledged: the future raised the failure."""
        reception = self.reception
        return reception.failure is not None and any(
            steer.state is SteerState.OPEN for steer in reception.steers.all
        )

    def _has_room(self, further: int) -> bool:
        """Whether the unread events leave room for this many further ones. Sets when to look again.

        What was read is not measured, because that would cost each delta. The unread events are measured when
        so many bytes have arrived since that they may be too large.
        """
        events = len(self.events) + further
        if events > self._max_events:
            return False
        if self.received_bytes >= self._measure_at:
            unread_bytes = self._unread_bytes
            if unread_bytes > self._max_bytes:
                return False
            self._measure_at = self.received_bytes + max(self._max_bytes - unread_bytes, _MEASURED_BYTES)
        fit_bytes = (self._max_events - events) * _LEAST_BYTES
        self._look_at = min(self._measure_at, self.received_bytes + fit_bytes)
        return True

    @property
    def _unread_bytes(self) -> int:
        """The size of the unread events, those that are held back included. The newest one is not counted."""
        return sum(len(event.raw) for event in self.events) + self.reception.held_back_bytes

    def _overflow(self) -> None:
        if not self.events and self.reception.held_back_bytes:  # nothing could be read
            problem = f"the server sent {self.received_bytes:,} bytes of a response and no output"
            self.fail(Failure.violation(problem, sent=True, started=True))
            return
        failure = Failure(
            kind=FailureKind.SLOW_CONSUMER,
            buffered=len(self.events),
            buffered_bytes=self._unread_bytes,
            sent=True,
            started=True,
        )
        self.fail(failure)

    def _on_phase(self) -> None:
        reception = self.reception
        if reception.phase is ReceptionPhase.UNEXPLAINED:
            self._watch.give_up_after(REASON_WITHIN_S)
            return
        if not reception.phase.is_over:
            self._watch.enter(_WATCHED[reception.phase])
            return
        self.is_over = True
        self._watch.end()
        failure = reception.failure
        if failure is None:
            self._exchange = None  # its run refers to this inbox
            return
        self._lose_steers(failure.exception(output_seen=self.was_read))
        if not self.was_read:
            self.events.clear()  # the request may be sent again
        if failure.kind in _FOUND_HERE or reception.is_unexplained:
            self.leave()
        self._exchange = None

    def _acknowledge(self) -> None:
        waiting = self._acknowledgements
        self._acknowledgements = tuple(one for one in waiting if one[0].state is SteerState.OPEN)
        for steer, acknowledged in waiting:
            if steer.state is not SteerState.OPEN:
                _settle(acknowledged, _refusal(steer) if steer.state is SteerState.REFUSED else None)

    def _lose_steers(self, error: TurnError | UsageError) -> None:
        lost, self._acknowledgements = self._acknowledgements, ()
        for _, acknowledged in lost:
            _settle(acknowledged, error)

    def __repr__(self) -> str:
        return f"<Inbox {self.reception.phase.name}: {len(self.events)} events>"


def _refusal(steer: Steer) -> SteerRefused:
    reason = steer.code or "no code given"
    message = f"the service refused the steer ({reason}); send its input as the next turn"
    return SteerRefused(message, code=steer.code, input=steer.given)


def _settle(acknowledged: asyncio.Future[Any], error: Exception | None) -> None:
    if acknowledged.done():
        return
    if acknowledged.get_loop().is_closed():
        acknowledged.cancel()
    elif error is None:
        acknowledged.set_result(None)
    else:
        acknowledged.set_exception(error)
        acknowledged.exception()  # the task that steered may be gone, and then nobody retrieves it
