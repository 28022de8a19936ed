"""One request on one lane, and what it brings.

Life-cycle events are held back until the first output, so that a replay is invisible: an attempt of which
the caller has taken nothing can be asked for again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sized
from time import monotonic
from typing import Any, Protocol

from msgspec import Raw
from msgspec.structs import replace

from . import errors
from ._protocol.events import (
    ErrorEvent,
    InvalidEvent,
    OutputItemDone,
    OutputTextDelta,
    ReceivedEvent,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailedEvent,
    ResponseIncomplete,
    ServerEvent,
    SteerAccepted,
    SteerFailed,
    SteerPending,
    is_output,
)
from .deadlines import Deadlines, Due, Phase
from .errors import ConnectionLost, DeadlineExceeded, ProtocolViolation, ServiceError, TurnError, UsageError
from .metrics import TurnMetrics
from .retry_after import retry_after_s
from .sequence import RECENT, Sequence
from .steering import Steers
from .wakeups import Wait, Wakeups

_TURNING = frozenset(
    {
        ResponseCreated,
        ResponseCompleted,
        ResponseIncomplete,
        ResponseFailedEvent,
        ErrorEvent,
        SteerAccepted,
        SteerFailed,
        SteerPending,
    }
)

_LAST = frozenset({ResponseCompleted, ResponseIncomplete, ResponseFailedEvent, ErrorEvent, InvalidEvent})


class Exchange(Protocol):
    """One request on its way, over whatever transport."""

    @property
    def has_started(self) -> bool:
        """The response has its id."""

    @property
    def goes_on(self) -> bool:
        """The response has ended, and a steer may bring a successor."""

    def begin(self, request: bytes) -> None:
        """Send the request. Raises `ConnectionLost` when it cannot be sent any more."""

    def abandon(self) -> None:
        """Nobody waits for the answer any more. May be called again."""


class Attempt(Wait):
    """What one request brought, in order, until its caller takes it, who waits for the attempt itself.

    Attributes:
        events: what the caller may see now.
        final: the terminal event of a response that did not fail.
        error: why it ended otherwise.
        taken: the caller has taken something.
        hear: takes text while the caller waits for it, so that the caller needs not be woken.
    """

    __slots__ = (
        "__weakref__",
        "_deadlines",
        "_ended",
        "_flowing",
        "_held",
        "_limit",
        "_metrics",
        "_progress_at",
        "_received_bytes",
        "_sequence",
        "_speaking",
        "_started_at",
        "_timer",
        "done_items",
        "error",
        "events",
        "exchange",
        "final",
        "hear",
        "steers",
        "taken",
    )

    def __init__(
        self,
        deadlines: Deadlines,
        max_buffered_events: int,
        metrics: TurnMetrics,
        started_at: float,
        wakeups: Wakeups,
    ) -> None:
        super().__init__(wakeups)
        self._metrics = metrics
        self._started_at = started_at
        self._limit = max_buffered_events
        self._deadlines = deadlines
        self.events: deque[ServerEvent] = deque()
        self.final: ResponseCompleted | ResponseIncomplete | None = None
        self.error: TurnError | None = None
        self.taken = False
        self.hear: Callable[[OutputTextDelta], None] | None = None
        self.done_items: list[Raw] = []
        self.exchange: Exchange | None = None
        self.steers = Steers()
        self._ended: ResponseCompleted | ResponseIncomplete | None = None
        self._held: list[ServerEvent] = []
        self._flowing = False
        self._speaking = False
        self._sequence = Sequence()
        self._progress_at = 0.0
        self._received_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def count_bytes(self) -> None:
        """Add what was received to the turn's figures. Not done with each event, of which there are many."""
        self._metrics.bytes_received += self._received_bytes
        self._received_bytes = 0

    @property
    def is_over(self) -> bool:
        """Nothing more will come."""
        return self.final is not None or self.error is not None

    def begin(self, request: bytes) -> None:
        """Send the request.

        Raises:
            ConnectionLost: the socket died before it was sent.
        """
        assert self.exchange is not None
        self.exchange.begin(request)
        self._progress_at = monotonic()
        self._watch()

    @property
    def has_started(self) -> bool:
        """The response has its id."""
        return self.exchange is not None and self.exchange.has_started

    # What the exchange calls.

    def deliver(self, event: ReceivedEvent) -> None:
        """Take one event of this request's response."""
        self._progress_at = monotonic()
        frame, sequence = event.raw, self._sequence
        self._received_bytes += len(frame)
        number = sequence.next
        if event.sequence_number != number:
            self._put_in_order(event)
            return
        sequence.next = number + 1
        sequence.recent[number & RECENT] = hash(frame)
        # Nearly every event is a text delta in the middle of an answer: it takes the short way.
        if self._speaking and type(event) is OutputTextDelta:
            if self.is_awaited:  # everything before it was taken
                if self.hear is not None:
                    self.context.run(self.hear, event)
                    return
                self.events.append(event)
                self.end()
                return
            if len(self.events) < self._limit:
                self.events.append(event)
                return
        self._take(event)

    def _put_in_order(self, event: ReceivedEvent) -> None:
        if type(event) is ResponseCreated and self._ended is not None:
            self._sequence = Sequence()  # a successor counts anew
        ready = self._sequence.admit(event.sequence_number, event)
        if self._sequence.held and type(event) in _LAST:
            ready = [*self._sequence.flush(), *ready]  # the response is over: what is missing will not come
        for each in ready:
            self._take(each)

    def _take(self, event: ReceivedEvent) -> None:
        if self.is_over:
            return
        if isinstance(event, InvalidEvent) or type(event) in _TURNING:
            self._turn(event)
        elif self._flowing:
            self._push(event)
        else:
            self._before_output(event)

    def fail(self, error: TurnError) -> None:
        """The exchange broke off."""
        self._fail(error)

    def _before_output(self, event: ServerEvent) -> None:
        at = self._progress_at - self._started_at
        if self._metrics.first_event_s is None:
            self._metrics.first_event_s = at
        if is_output(event):
            self._metrics.first_output_s = at
            self._flow()
            self._push(event)
            return
        if self._overflows(self._held):
            return
        self._held.append(event)
        if len(self._held) == 1:
            self._watch_anew()

    def _flow(self) -> None:
        self._flowing = True
        self.events.extend(self._held)
        self._held.clear()
        self._watch_anew()
        self.end()

    def _push(self, event: ServerEvent) -> None:
        if type(event) is OutputTextDelta:
            self._speaking = True
            if self._metrics.ttft_s is None:
                self._metrics.ttft_s = self._progress_at - self._started_at
        elif type(event) is OutputItemDone:
            self.done_items.append(event.encoded_item)
        if self._overflows(self.events):
            return
        self.events.append(event)
        self.end()

    def _overflows(self, waiting: Sized) -> bool:
        if len(waiting) < self._limit:
            return False
        self._fail(errors.SlowConsumer(len(waiting)))
        self.leave()
        return True

    def _turn(self, event: ReceivedEvent) -> None:
        """An event that ends the response, or that decides whether another follows."""
        if isinstance(event, ResponseCompleted | ResponseIncomplete):
            if not event.response.encoded_output:
                event = replace(event, response=event.response.with_output(self.done_items))
            self._ended = event
        elif isinstance(event, SteerAccepted | SteerFailed | SteerPending):
            self.steers.resolve(event)
            self._pass_on(event)
        elif isinstance(event, ResponseCreated):
            self._begin_response(event)
        else:
            self._break(event)
        if self._ended is not None and self.exchange is not None and not self.exchange.goes_on:
            self._conclude(self._ended)

    def _begin_response(self, event: ResponseCreated) -> None:
        """The first response of the request, or the successor of one that was steered."""
        if self._ended is not None:
            self.steers.succeed(self._ended)
            self._pass_on(self._ended)
            self._ended = None
            self.done_items.clear()
        self._metrics.note_response(event.response)
        self._pass_on(event)

    def _pass_on(self, event: ServerEvent) -> None:
        if self._flowing:
            self._push(event)
        else:
            self._before_output(event)

    def _conclude(self, final: ResponseCompleted | ResponseIncomplete) -> None:
        self.final = final
        self._speaking = False
        self._flow()
        self._stop_watching()

    def _break(self, event: ReceivedEvent) -> None:
        if isinstance(event, InvalidEvent):
            problem = f"received an invalid {event.wire_type} event: {event.problem}"
            self._fail(ProtocolViolation(problem, sent=True, started=True))
            self.leave()
        else:
            self._fail(_service_error(event, self.has_started))

    def _fail(self, error: TurnError) -> None:
        if self.is_over:
            return
        self.error = error
        self._speaking = False
        self.steers.lose(error)
        self._stop_watching()
        if not self.taken:
            self.events.clear()  # nobody has seen it, so that it may be asked for again
        self.end()

    # What the turn calls.

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until there is an event, or the end. Cancelling ends the wait and loses nothing."""
        if self.events or self.final is not None or self.error is not None:
            return
        if self.go_on is not None:
            raise UsageError("another task is already reading this stream; read each stream from one task")
        self._asyncio_future_blocking = True
        yield self

    def leave(self) -> None:
        """Nobody waits for this attempt any more: its lane drains."""
        self._stop_watching()
        self.steers.lose(UsageError("the stream was closed before the service accepted or refused the steer"))
        if self.exchange is not None:
            self.exchange.abandon()
        self.end()  # another task may wait for an event that will not come

    def interrupt(self) -> None:
        """The caller was cancelled before the request was sent; whoever goes on asks again."""
        self.leave()
        if not self.is_over:
            self.error = ConnectionLost("the turn was cancelled before its request was sent")

    # Deadlines: one timer, moved on lazily, so that an event costs nothing but the note of its time.

    def _watch(self) -> None:
        due = self._due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(due.at - monotonic(), self._look)

    def _watch_anew(self) -> None:
        """Another phase begins: it may be over sooner, or be the first that has a limit."""
        self._stop_watching()
        self._watch()

    def _look(self) -> None:
        due = self._due()
        if due is None or monotonic() < due.at:
            self._watch()
            return
        self._fail(DeadlineExceeded(due.phase, due.waited_s, sent=True, started=self.has_started))
        self.leave()

    def _due(self) -> Due | None:
        phase = Phase.BETWEEN_EVENTS if self._flowing else Phase.FIRST_OUTPUT
        if not self._flowing and not self._held:
            phase = Phase.FIRST_EVENT
        return self._deadlines.due(phase, self._started_at, self._progress_at)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _service_error(event: ServerEvent, started: bool) -> ServiceError:
    if isinstance(event, ErrorEvent):
        return _refusal(event, started)
    assert isinstance(event, ResponseFailedEvent)
    error = event.response.error or {}
    code = error.get("code")
    return errors.ResponseFailed(
        f"the response failed: {error.get('message') or code or 'the service gave no reason'}",
        response=event.json()["response"],
        code=code if isinstance(code, str) else None,
        response_id=event.response.id,
        started=True,
    )


def _refusal(event: ErrorEvent, started: bool) -> errors.ResponseRefused:
    body = event.body
    headers = event.headers
    return errors.ResponseRefused(
        f"the service refused the request: {event.message}",
        code=event.code,
        status=event.status if isinstance(event.status, int) else None,
        error_type=body.type if isinstance(body.type, str) else None,
        param=body.param if isinstance(body.param, str) else None,
        retry_after_s=retry_after_s(headers.get("retry-after")),
        request_id=headers.get("x-request-id"),
        started=started,
    )
