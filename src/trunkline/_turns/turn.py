"""One turn: its request, and the attempts to get it answered.

A turn has no task of its own: the task of the caller drives it, in `start` and in `recover`. Its states::

    NEW ──start──▶ ASKING ──sent──▶ RUNNING ──conclude, leave, failure──▶ ENDED
                      ▲               │
                      └───recover─────┘

A turn whose caller is cancelled while it is ASKING stays so, and `recover` continues it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NoReturn

from msgspec.structs import replace

from .._decisions.baselines import Baseline
from .._decisions.placement import Candidate
from .._decisions.recovery import IN_FULL, Action, Cause, Decision, Facts, decide
from .._decisions.request import Request
from .._decisions.suspects import shape_of
from .._network.endpoint import server_of
from .._network.exchange import Exchange, NotOpened, Sent
from .._network.transports import Transports
from .._observe.hooks import TurnHook, call_hook
from .._observe.metrics import TurnKey, TurnMetrics, TurnOutcome
from .._observe.notices import log_retry
from .._protocol.events import ResponseCompleted, ResponseIncomplete
from .._protocol.failure import Failure, FailureKind
from .._protocol.frames import size_in_full
from .._protocol.history import History
from .._protocol.items import Item, TurnInput
from .._protocol.json import JSON
from .._protocol.response import Response
from .._protocol.steers import NO_STEERS, Steers, no_running_response, steer_items
from .._protocol.whole_text import text_left, with_text
from ..errors import ClientClosed
from ..options import Phase
from .inbox import Inbox
from .settings import TurnSettings


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a turn.

    Attributes:
        asked: the context of the final response: the request, and what was steered into it since.
        output: the output of the final response, as it can be sent again.
        waiting: accepted steers that the service adds to the next request.
    """

    asked: History
    output: tuple[Item, ...]
    waiting: tuple[Item, ...]


class TurnState(Enum):
    """How far a turn has come."""

    NEW = auto()
    ASKING = auto()
    RUNNING = auto()
    ENDED = auto()


# Bound once: looking up a member of an enumeration costs more than comparing it.
_ASKING: Final = TurnState.ASKING
_ENDED: Final = TurnState.ENDED


class Turn:
    """A request, and the attempts to get it answered.

    Attributes:
        request: the request.
        inbox: the inbox of the current attempt, or of the last one.
        on_drained: called as ``Hooks.turn_drained``, for this turn only.
    """

    __slots__ = (
        "_again_at",
        "_attempts",
        "_avoiding",
        "_barren",
        "_bytes_received",
        "_bytes_sent",
        "_clock",
        "_connected_at",
        "_ended_at",
        "_error",
        "_exchange",
        "_first_event_at",
        "_in_full",
        "_is_alone",
        "_key",
        "_outcome",
        "_over_http",
        "_recoveries",
        "_response",
        "_sent",
        "_settings",
        "_started_at",
        "_state",
        "_transports",
        "_without_socket",
        "inbox",
        "on_drained",
        "request",
    )

    def __init__(self, transports: Transports, request: Request, settings: TurnSettings) -> None:
        self.request: Request = request
        self.inbox: Inbox | None = None
        self.on_drained: TurnHook | None = None
        self._transports = transports
        self._settings = settings
        self._clock = transports.world.clock
        self._state = TurnState.NEW
        self._key = TurnKey(0)
        # The attempts: how many, and what the next one has to regard.
        self._attempts = 0
        self._avoiding: tuple[Candidate, ...] = ()
        self._barren = 0
        self._over_http = False
        self._in_full = False
        self._is_alone = False  # because its shape is suspect
        self._without_socket: Failure | None = None  # why it goes over HTTP
        self._again_at = 0.0
        # The current attempt.
        self._exchange: Exchange | None = None
        self._sent: Sent | None = None
        # What the figures are made of.
        self._recoveries: tuple[Cause, ...] = ()
        self._started_at = 0.0
        self._connected_at: float | None = None
        self._first_event_at: float | None = None
        self._ended_at: float | None = None
        self._bytes_sent = 0
        self._bytes_received = 0
        self._response: Response | None = None
        self._outcome: TurnOutcome | None = None
        self._error: tuple[str, str | None] = ("", None)

    @property
    def is_asking(self) -> bool:
        """Whether no request is on its way: `recover` sends it."""
        return self._state is _ASKING

    @property
    def is_ended(self) -> bool:
        """Whether it was answered, failed or left."""
        return self._state is _ENDED

    @property
    def output_seen(self) -> bool:
        """Whether the caller has taken events of the answer."""
        return self.inbox is not None and self.inbox.was_read

    @property
    def has_started(self) -> bool:
        """Whether the response of the current attempt has begun."""
        return self.inbox is not None and self.inbox.reception.has_started

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs in, once it has begun."""
        loop = self._transports.wakeups.loop
        assert loop is not None
        return loop

    @property
    def steers(self) -> Steers:
        """The steers of the current attempt."""
        return self.inbox.reception.steers if self.inbox is not None else NO_STEERS

    @property
    def returned_steers(self) -> list[Any]:
        """Steers that were handed back after they had been accepted."""
        return self.steers.returned

    async def start(self) -> None:
        """Send the request, in as many attempts as it takes. Cancelling gives the place back.

        Raises:
            ClientClosed: the client takes no new turns.
            TurnError: the last failure, if no further attempt is possible or permitted.
        """
        self._key.number = self._transports.begin_turn()
        self._state = _ASKING
        self._started_at = self._again_at = self._clock()
        self._attempts = 1
        self._transports.counters.add("turns")
        if self._settings.hooks.turn_started is not None:
            call_hook("turn_started", self._settings.hooks.turn_started, self.metrics)
        await self._ask()

    async def recover(self) -> None:
        """Send the request again after a failure, or continue a cancelled call.

        Raises:
            TurnError: the failure itself, if no further attempt is possible or permitted.
        """
        if self._state is not _ASKING:
            assert self.inbox is not None
            assert self.inbox.reception.failure is not None
            self._prepare_again(self.inbox.reception.failure)
        await self._ask()

    def leave(self) -> None:
        """Do without the answer: its lane drains. May be called again."""
        if self.inbox is not None:
            self.inbox.leave()
        self._end("left")

    def conclude(self, final: ResponseCompleted | ResponseIncomplete) -> Answer:
        """Take the response, and remember it as a baseline."""
        assert self.inbox is not None
        steers = self.inbox.reception.steers
        asked = self.asked_until(len(steers.segments))
        answer = Answer(asked, _output_of(final.response), tuple(steers.waiting))
        self._response = final.response
        if final.response.has_transformed_input:
            self._transports.removals.note(final.response.input_transformations)
        if self._exchange is not None and self._exchange.connection is not None:
            self._transports.socket_answered()
        is_stored = final.response.store
        if is_stored is False and self.request.fields.store is not False:
            self._transports.not_stored(lost_reasoning=any(map(_is_bare_reasoning, final.response.output)))
        if not self._transports.suspects.is_clear and not self._over_http:
            self._transports.suspects.answered(shape_of(self.request.fields.values()))
        if self._recoveries and Cause.PARENT_REFUSED in self._recoveries:
            self._transports.parent_refused()
        has_own_ids = self.inbox.reception.has_own_call_ids
        if isinstance(final, ResponseCompleted) and not has_own_ids and not steers.are_uncertain:
            self._remember(final.response, answer, stored=is_stored is True)
        self._end("answered")
        return answer

    def asked_until(self, segments: int) -> History:
        """The request, and the first ``segments`` steered responses with what was steered into them."""
        asked = self.request.asked
        steered = self.inbox.reception.steers.segments[:segments] if self.inbox is not None else ()
        for segment in steered:
            output = _output_of(segment.response.response)
            asked = asked.extended([item for item in output if item.is_resendable]).extended(segment.said)
        return asked

    def complete_steered(self, number: int, received: str) -> str:
        """Compare the text of a steered response with the text that the caller received.

        Its output gets the text that came in deltas only. Returns the text that came without a delta.
        """
        assert self.inbox is not None
        steers = self.inbox.reception.steers
        segment = steers.segments[number]
        response = segment.response.response
        whole = with_text(response, received)
        if whole is not response:
            filled = dataclasses.replace(segment, response=replace(segment.response, response=whole))
            steers.segments = (*steers.segments[:number], filled, *steers.segments[number + 1 :])
        return text_left(response.output_text, received)

    def said_after(self, segments: int) -> list[Item]:
        """Accepted steers that are not part of the first ``segments`` responses."""
        return self.inbox.reception.steers.said_after(segments) if self.inbox is not None else []

    def steer(self, given: TurnInput) -> asyncio.Future[None]:
        """Steer the running response. The future ends when the service has acknowledged it.

        Raises:
            ConfigurationError: the input holds something other than user messages.
            UsageError: no response runs, or it runs over HTTP.
            SteerRefused: too many earlier steers are not acknowledged; nothing was sent.
        """
        items = steer_items(given)
        inbox, exchange = self.inbox, self._exchange
        if inbox is None or exchange is None or inbox.is_over or self.is_ended:
            raise no_running_response()
        inbox.check_takes_steer(given)
        failure = exchange.steer(given)
        acknowledged = inbox.steer(given, items)
        if failure is not None:
            inbox.fail(failure)
        return acknowledged

    @property
    def has_failed_a_steer(self) -> bool:
        """Whether the caller learned from `steer` that the attempt failed."""
        return self.inbox is not None and self.inbox.has_failed_a_steer

    @property
    def metrics(self) -> TurnMetrics:
        """Its figures at this moment."""
        request, sent, inbox = self.request, self._sent, self.inbox
        reception = inbox.reception if inbox is not None else None
        response = self._response or (reception.response if reception is not None else None)
        host, port = server_of(request.url)
        first_event_at = self._first_event_at
        if first_event_at is None and reception is not None:
            first_event_at = reception.first_event_at
        return TurnMetrics(
            turn=self._key,
            model=request.fields.model,
            outcome=self._outcome,
            error=self._error[0] or None,
            error_code=self._error[1],
            server_address=host,
            server_port=port,
            conversation_id=request.conversation_id,
            warm_up=not request.generate,
            response_id=response.id if response is not None else None,
            response_model=response.model if response is not None else None,
            mode=sent.mode if sent is not None else "full",
            transport=sent.transport if sent is not None else "websocket",
            lane=sent.lane if sent is not None else None,
            connection=sent.connection if sent is not None else None,
            fork=sent is not None and sent.is_fork,
            items_sent=sent.items if sent is not None else 0,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received + (inbox.received_bytes if inbox is not None else 0),
            full_bytes=size_in_full(request.fields, request.asked, sent.lane) if sent is not None else 0,
            attempts=self._attempts,
            recoveries=list(self._recoveries),
            connected_s=self._since_start(self._connected_at),
            first_event_s=self._since_start(first_event_at),
            first_output_s=self._since_start(reception.first_output_at if reception is not None else None),
            ttft_s=self._since_start(reception.first_text_at if reception is not None else None),
            total_s=self._since_start(self._ended_at),
            usage=response.usage if response is not None and self._outcome == "answered" else None,
            removed_reasoning=_removed_from(response),
        )

    def _since_start(self, at: float | None) -> float | None:
        return at - self._started_at if at is not None else None

    # Attempts.

    async def _ask(self) -> None:
        self._state = _ASKING
        while True:
            try:
                failure = await self._attempt()
            except ClientClosed as error:
                self._end("failed", type(error).__name__)
                raise
            if self.is_ended:  # the stream was closed by another task meanwhile
                return
            if failure is None:
                self._state = TurnState.RUNNING
                return
            self._prepare_again(failure)

    async def _attempt(self) -> Failure | None:
        """One attempt to send the request; its failure, if it was not sent."""
        delay_s = self._again_at - self._clock()
        if delay_s > 0:
            await self._transports.pause(delay_s)
        if self._attempts == 1:
            self._transports.check_admits()
        else:  # a turn that has begun continues while the client drains
            self._transports.check_open()
        if self.is_ended:
            return None
        settings, transports = self._settings, self._transports
        inbox = Inbox(
            settings.deadlines,
            started_at=self._started_at,
            max_events=settings.max_buffered_events,
            max_bytes=settings.max_buffered_bytes,
            wakeups=transports.wakeups,
            world=transports.world,
        )
        self.inbox, self._exchange, self._sent = inbox, None, None
        suspects = transports.suspects
        suspect = suspects.to_isolate(self.request.fields, self._clock()) if not suspects.is_clear else None
        self._is_alone = suspect is not None
        exchange = await transports.open(
            self.request,
            inbox,
            avoiding=self._avoiding,
            in_full=self._in_full,
            over_http=self._over_http,
            patient=settings.policy.waits,
            due=settings.deadlines.due(Phase.CONNECT, self._started_at, self._again_at),
            label=f"http turn {self._key.number}.{self._attempts}",
            suspect=suspect,
        )
        if isinstance(exchange, NotOpened):
            if exchange.connection is not None:
                self._avoiding = (*self._avoiding, exchange.connection)
            return exchange.failure
        if self.is_ended:  # what is sent now would have no reader
            exchange.abandon()
            return None
        if exchange.connection is not None:
            self._connected_at = self._clock()
        if suspect is not None:  # not alone if another request of its shape was answered meanwhile
            self._is_alone = exchange.connection is None or transports.pool.is_private(exchange.connection)
        self._exchange = exchange
        # A service that does not have the parent does not have the reasoning of earlier responses either.
        sent = exchange.send(looks_up=not self._in_full and transports.looks_up)
        if isinstance(sent, Failure):
            return sent
        inbox.listen_to(exchange)
        if sent.parent is not None:
            inbox.reception.expected_parent = sent.parent.response_id
        self._sent = sent
        self._bytes_sent += sent.size_bytes
        self._over_http = sent.transport == "http"
        counters = transports.counters
        counters.add("fulls" if sent.parent is None else "deltas")
        if sent.is_fork:
            counters.add("forks")
        return None

    def _prepare_again(self, failure: Failure) -> None:
        """Do what recovery decides, up to the moment of the next attempt."""
        inbox, exchange = self.inbox, self._exchange
        parent = self._sent.parent if self._sent is not None else None
        if exchange is not None:
            exchange.abandon()
            self._judge(exchange, failure)
        if inbox is not None:
            inbox.leave()
        connection = self._sent.connection if self._sent is not None else None
        is_suspect = self._transports.suspects.failed(
            self.request.fields, failure, connection, self._clock(), was_alone=self._is_alone
        )
        facts = self._facts(failure, parent, is_suspect=is_suspect)
        decision = decide(facts, self._settings.policy)
        if failure.kind is FailureKind.IGNORED:
            self._transports.parent_ignored()
        if parent is not None and decision.forget_parent:
            self._forget(parent, lost=decision.cause is Cause.PARENT_LOST)
        if decision.action is Action.RAISE or decision.cause is None:
            self._raise(failure.of_suspect() if facts.lost_alone else failure)
        if decision.cause in IN_FULL:
            # Immediately: older parents may be gone as well.
            self._in_full = True
        self._recoveries = (*self._recoveries, decision.cause)
        self._transports.counters.add_recovery(decision.cause)
        log_retry(self._key.number, self._attempts, connection, failure, decision)
        self._report_drain()
        self._set_up_next(decision, failure)

    def _judge(self, exchange: Exchange, failure: Failure) -> None:
        """Apply the evidence of a failure about the socket."""
        if failure.kind is FailureKind.DEADLINE and failure.phase == Phase.FIRST_EVENT:
            exchange.distrust()
        elif failure.kind not in (FailureKind.LOST, FailureKind.VIOLATION):
            return
        if failure.sent and exchange.is_barren:
            self._barren += 1

    def _set_up_next(self, decision: Decision, failure: Failure) -> None:
        inbox, exchange = self.inbox, self._exchange
        if decision.action is Action.HTTP:
            self._over_http = True
            self._without_socket = failure
            if failure.sent and decision.cause is Cause.UPGRADE:
                self._transports.upgrade_carried_nothing(failure.words)
            self._transports.counters.add("fallbacks")
        elif decision.action is Action.ELSEWHERE and exchange is not None and exchange.connection is not None:
            self._avoiding = (*self._avoiding, exchange.connection)
        if inbox is not None:
            self._bytes_received += inbox.received_bytes
            self._first_event_at = self._first_event_at or inbox.reception.first_event_at
        self.inbox = None
        self._attempts += 1
        self._again_at = self._clock() + decision.delay_s
        self._state = _ASKING

    def _facts(self, failure: Failure, parent: Baseline | None, *, is_suspect: bool) -> Facts:
        inbox, settings = self.inbox, self._settings
        total_s = settings.deadlines.total
        acts = self.request.acts and not settings.replay_actions
        was_steered = inbox is not None and bool(inbox.reception.steers.all)
        return Facts(
            failure=failure,
            output_seen=self.output_seen,
            attempt=self._attempts,
            remaining_s=None if total_s is None else self._started_at + total_s - self._clock(),
            may_replay=not acts and not was_steered,
            names_parent=parent is not None,
            parent_is_stored=parent is not None and parent.stored,
            in_full=self._in_full,
            sent_bytes=self._sent.size_bytes if self._sent is not None else 0,
            barren=self._barren,
            is_suspect=is_suspect,
            was_alone=self._is_alone,
            http_allowed=self._transports.may_fall_back and not self._over_http,
            jitter=self._transports.world.random(),
            silent_s=self._silent_s(),
            first_event_s=settings.deadlines.first_event,
        )

    def _silent_s(self) -> float:
        """The time since the start of the turn, if no attempt has received an event."""
        inbox = self.inbox
        if self._first_event_at is not None:
            return 0.0
        if inbox is not None and inbox.reception.first_event_at is not None:
            return 0.0
        return self._clock() - self._started_at

    # Baselines.

    def _remember(self, response: Response, answer: Answer, *, stored: bool) -> None:
        owner, exchange = self.request.owner, self._exchange
        if owner is None or exchange is None or not self.request.remembers or not response.id:
            return  # a response without an id cannot be named
        # A server that does not show the parent of a response cannot show that it used one.
        if self.inbox is None or not self.inbox.reception.tells_parent:
            return
        is_kept = stored and self._transports.keeps_responses
        owner.baselines.commit(
            Baseline(
                response_id=response.id,
                model=self.request.fields.model,
                # The service holds waiting steers for the lane, not for the response.
                stored=is_kept and not answer.waiting,
                lane=exchange.lane,
                length=len(answer.asked),
                mark=answer.asked.mark,
                output=(*answer.output, *answer.waiting),
                pinned=bool(answer.waiting),
                at=self._clock(),
            )
        )

    def _forget(self, parent: Baseline, *, lost: bool) -> None:
        owner = self.request.owner
        if owner is not None:
            owner.baselines.forget(parent.response_id)
        if lost and parent.stored:
            self._transports.not_found(parent.at)

    # The end.

    def _raise(self, failure: Failure) -> NoReturn:
        output_seen = self.output_seen
        self._end("failed", failure.name, failure.code)
        error = failure.exception(output_seen=output_seen)
        if self._without_socket is not None and not failure.is_of_service:
            # The failure over HTTP is often a consequence; the reason why there was no socket is not.
            error.__cause__ = self._without_socket.exception()
        raise error

    def _end(self, outcome: TurnOutcome, error: str = "", code: str | None = None) -> None:
        if self._state is _ENDED:
            return
        has_begun = self._state is not TurnState.NEW
        self._state = _ENDED
        self._outcome = outcome
        self._error = (error, code)
        self._ended_at = self._clock()
        if not has_begun:  # a stream that was never entered
            return
        hook = self._settings.hooks.turn_finished
        if hook is not None:
            call_hook("turn_finished", hook, self.metrics)
        if outcome != "answered":
            self._report_drain()
        self._transports.turn_ended()

    def _report_drain(self) -> None:
        """Report the usage of the current attempt, without a reader, once the service has ended it."""
        final = self.inbox.reception.final if self.inbox is not None else None
        if final is not None:  # the end had arrived, and the caller did not read it
            self._transports.counters.add("abandoned")
            self._transports.counters.add_abandoned_usage(final.response.usage)
        hooks = (self.on_drained, self._settings.hooks.turn_drained)
        if self._exchange is None or not any(hooks):
            return
        report = partial(_report, [hook for hook in hooks if hook is not None], self.metrics)
        if final is not None:
            report(final.response)
        else:
            self._exchange.when_drained(report)


def _report(hooks: Sequence[TurnHook], left: TurnMetrics, response: Response) -> None:
    """Call hooks with the figures of an answer that drained. Holds no turn: drains can take minutes."""
    metrics = dataclasses.replace(
        left, usage=response.usage, response_id=response.id or left.response_id, response_model=response.model
    )
    for hook in hooks:
        call_hook("turn_drained", hook, metrics)


def _removed_from(response: Response | None) -> int:
    """The number of reasoning items that the service removed from the context of a response."""
    if response is None or not response.has_transformed_input:
        return 0
    return len(response.input_transformations)


def _is_bare_reasoning(item: JSON) -> bool:
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _output_of(response: Response) -> tuple[Item, ...]:
    """The output as it can be sent again."""
    return tuple(Item.from_output(bytes(item)) for item in response.encoded_output or ())
