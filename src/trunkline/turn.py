"""One turn: asked until it is answered, or until there is nothing left to try.

Nothing here runs in a task of its own: the caller's task drives the turn. Once the caller has seen output,
nothing is asked again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from time import monotonic
from typing import Literal, NoReturn

from ._protocol.events import ResponseCompleted, ResponseIncomplete
from .attempt import Attempt
from .baselines import Baseline, Plan
from .connection import Connection
from .deadlines import Phase
from .errors import ClientClosed, DeadlineExceeded, TurnError, UsageError
from .history import History
from .items import Item, TurnInput
from .metrics import TurnMetrics
from .placement import can_continue
from .pool import Place
from .question import Question, TurnSettings
from .recovery import Action, Cause, Decision, Facts, decide
from .request import frame, http_body, size_in_full
from .response import Response
from .steering import Steer, steer_frame, steer_items
from .transport import Transports
from .wirelog import log_recovery, sink_over_http


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn brought.

    Attributes:
        asked: the context of the final response: what was asked, and what was said into it since.
        output: the final response's output, as it can be sent again.
        waiting: steers that the service holds until the next request.
    """

    asked: History
    output: tuple[Item, ...]
    waiting: tuple[Item, ...]


class Turn:
    """A question, and the attempts to have it answered.

    Attributes:
        question: what is asked.
        attempt: the attempt that runs, or the last one.
    """

    def __init__(self, transports: Transports, question: Question, settings: TurnSettings) -> None:
        self.question = question
        self._metrics = question.new_metrics()
        self._transports = transports
        self._pool = transports.pool
        self._settings = settings
        self._started_at = self._again_at = monotonic()
        self._asking = False
        self._left = False
        self._avoiding: list[Connection] = []
        self._over_http = False
        self._in_full = False
        self._parent: Baseline | None = None
        self._place: Place | None = None
        self._number = 0
        self.attempt = self._new_attempt()

    @property
    def metrics(self) -> TurnMetrics:
        """Its figures, so far."""
        self.attempt.count_bytes()
        return self._metrics

    async def start(self) -> None:
        """Send the request, as often as it takes. Cancelling gives the place back.

        Raises:
            TurnError: the last failure, when asking again is not possible or not right.
        """
        self._started_at = self._again_at = monotonic()
        self._pool.metrics.turns += 1
        self._number = self._pool.metrics.turns
        self._metrics.attempts = 1
        self._settings.hooks.started(self._metrics)
        await self._until_sent()

    async def recover(self, error: TurnError) -> None:
        """The attempt has failed: ask again. When cancelled, call it again: it goes on where it was.

        Raises:
            TurnError: the failure itself, when asking again is not possible or not right.
        """
        if not self._asking:
            self._prepare_again(error)
        await self._until_sent()

    def leave(self) -> None:
        """Give the turn up: its response drains, and nothing more is sent. May be called again."""
        self._left = True
        self.attempt.leave()
        self._finish("left")

    def conclude(self, final: ResponseCompleted | ResponseIncomplete) -> Answer:
        """The response is there: remember it as a baseline."""
        attempt = self.attempt
        asked = self.asked_until(len(attempt.steers.segments))
        answer = Answer(asked, _output_of(final.response), tuple(attempt.steers.waiting))
        self._metrics.usage = final.response.usage
        self._metrics.note_response(final.response)
        self._finish("answered")
        if isinstance(final, ResponseCompleted):
            self._remember(final.response, answer)
        return answer

    def asked_until(self, segments: int) -> History:
        """What was asked, and the first so many responses that were steered, with what was said into them."""
        asked = self.question.asked
        for segment in self.attempt.steers.segments[:segments]:
            heard = _output_of(segment.response.response)
            asked = asked.extended([item for item in heard if item.is_resendable]).extended(segment.said)
        return asked

    def steer(self, given: TurnInput) -> Steer:
        """Say something into the running answer.

        Raises:
            UsageError: no response runs, or it runs over HTTP.
            ConnectionLost: the socket is dead.
        """
        items = steer_items(given)
        attempt, place = self.attempt, self._place
        if self._over_http or place is None:
            raise UsageError("steer() needs a WebSocket, and this turn uses HTTP")
        response_id = place.run.response_id
        if attempt.is_over or response_id is None:
            raise UsageError(
                "no response is running; call steer() between the first and the last event of the stream"
            )
        place.connection.steer(place.run, steer_frame(response_id, given))
        return attempt.steers.add(given, items)

    def _remember(self, response: Response, answer: Answer) -> None:
        question, place = self.question, self._place
        if question.owner is None or question.fields.brings_context:
            return
        is_kept = response.store is True and self._transports.keeps_responses
        question.owner.baselines.commit(
            Baseline(
                response_id=response.id,
                model=question.fields.model,
                stored=is_kept and not answer.waiting,
                place=place.run.lane if place is not None else None,
                length=len(answer.asked),
                mark=answer.asked.mark,
                output=(*answer.output, *answer.waiting),
                pinned=bool(answer.waiting),
                at=self._transports.now,
            )
        )

    async def _until_sent(self) -> None:
        self._asking = True
        while self._asking:
            try:
                await self._ask()
                self._asking = False
            except TurnError as error:
                self._prepare_again(error)
            except ClientClosed as error:
                self.attempt.interrupt()
                self._fail(error)
            except BaseException:
                self.attempt.interrupt()
                raise

    async def _ask(self) -> None:
        delay_s = self._again_at - monotonic()
        if delay_s > 0:
            await self._transports.pause(delay_s)
        if self._left:
            return
        self._transports.check_open()
        self._parent = self._place = None
        self.attempt = attempt = self._new_attempt()
        if self._over_http or self._transports.goes_over_http(self.question.url):
            self._over_http = True
            self._ask_http(attempt)
        else:
            await self._ask_socket(attempt)

    async def _ask_socket(self, attempt: Attempt) -> None:
        self._place = attempt.exchange = place = await self._take_place(attempt)
        if not place.connection.is_ready:
            await self._bounded(place.connection.ready())
        if self._left:  # by another task, while this one waited: what is sent now would have no reader
            attempt.leave()
            return
        self._transports.websocket_made()
        self._metrics.connected_s = monotonic() - self._started_at
        self._parent = parent = place.plan.parent
        request = frame(
            self.question.fields,
            place.plan.delta,
            previous_response_id=parent.response_id if parent is not None else None,
            stream_id=place.run.lane.name,
            generate=self.question.generate,
        )
        attempt.begin(request)
        self._count(place.plan, len(request), place)

    def _ask_http(self, attempt: Attempt) -> None:
        stored = [plan for plan in self._candidates() if plan.parent is not None and plan.parent.stored]
        plan = stored[0] if stored else Plan(None, self.question.asked.items())
        self._parent = parent = plan.parent
        body = http_body(
            self.question.fields,
            plan.delta,
            previous_response_id=parent.response_id if parent is not None else None,
        )
        place = f"http turn {self._number}.{self._metrics.attempts}"
        sink = sink_over_http(attempt, place, body, shows_content=self._settings.log_content)
        attempt.exchange = self._transports.http.exchange(sink)
        attempt.begin(body)
        self._count(plan, len(body), None)

    def _new_attempt(self) -> Attempt:
        settings = self._settings
        return Attempt(
            settings.deadlines,
            settings.max_buffered_events,
            self._metrics,
            self._started_at,
            self._pool.wakeups,
        )

    async def _take_place(self, attempt: Attempt) -> Place:
        question = self.question
        while True:
            for avoiding in (self._avoiding, ()):  # where no other may be made, another lane must do
                place = self._pool.take(
                    question.url, question.owner, question.asked, self._candidates(), attempt, avoiding
                )
                if place is not None:
                    return place
            await self._bounded(self._pool.room())

    def _candidates(self) -> list[Plan]:
        question = self.question
        if question.owner is None or question.fields.brings_context or self._in_full:
            return []
        plans: list[Plan] = []
        for plan in question.owner.baselines.candidates(
            question.asked, question.fields.model, self._can_name
        ):
            plans.append(plan if self._transports.keeps_responses else plan.unstored())
            if plans[-1].parent is not None and plans[-1].parent.stored:
                break  # it can be continued anywhere: the shorter ones will not be needed
        return plans

    def _can_name(self, parent: Baseline) -> bool:
        return can_continue(parent if self._transports.keeps_responses else parent.unstored())

    def _count(self, plan: Plan, size_bytes: int, place: Place | None) -> None:
        metrics, pool = self._metrics, self._pool.metrics
        lane = place.run.lane.name if place is not None else None
        metrics.mode = "full" if plan.is_full else "delta"
        metrics.transport = "websocket" if place is not None else "http"
        metrics.lane = lane
        metrics.connection = place.connection.number if place is not None else None
        metrics.fork = place is not None and place.is_fork
        metrics.items_sent = len(plan.delta)
        metrics.bytes_sent += size_bytes
        metrics.full_bytes = size_in_full(self.question.fields, self.question.asked, lane)
        pool.fulls += plan.is_full
        pool.deltas += not plan.is_full
        pool.forks += metrics.fork

    def _prepare_again(self, error: TurnError) -> None:
        """What recovery decides, up to the moment of asking again."""
        attempt, parent = self.attempt, self._parent
        attempt.leave()
        attempt.count_bytes()
        error.output_seen = attempt.taken
        decision = decide(self._facts(error), self._settings.policy)
        if parent is not None and decision.forget_parent:
            self._forget(parent, lost=decision.cause is Cause.PARENT_LOST)
        if decision.action is Action.RAISE or decision.cause is None:
            self._fail(error)
        self._metrics.recoveries.append(decision.cause)
        self._pool.metrics.recoveries[decision.cause] += 1
        connection = self._place.connection.number if self._place is not None else None
        log_recovery(self._number, self._metrics.attempts, connection, error, decision)
        self._go_on(decision)

    def _forget(self, parent: Baseline, *, lost: bool) -> None:
        owner = self.question.owner
        if owner is not None:
            owner.baselines.forget(parent.response_id)
        self._in_full |= lost  # at once, and surely: an older parent may be gone as well
        if lost and parent.stored:
            self._transports.not_found(parent.at)

    def _go_on(self, decision: Decision) -> None:
        if decision.action is Action.HTTP:
            self._over_http = True
            self._transports.fall_back(tried=self._place is not None)
        if decision.action is Action.ELSEWHERE and self._place is not None:
            self._avoiding.append(self._place.connection)
        self._metrics.attempts += 1
        self._again_at = monotonic() + decision.delay_s

    def _facts(self, error: TurnError) -> Facts:
        total = self._settings.deadlines.total
        acts = self.question.fields.acts and not self._settings.replay_actions
        return Facts(
            error=error,
            output_seen=self.attempt.taken,
            attempt=self._metrics.attempts,
            remaining_s=None if total is None else self._started_at + total - monotonic(),
            may_replay=not acts and not self.attempt.steers.sent,
            names_parent=self._parent is not None,
            parent_is_stored=self._parent is not None and self._parent.stored,
            jitter=random.random(),
            http_allowed=self._transports.may_fall_back and not self._over_http,
        )

    async def _bounded(self, wait: Awaitable[None]) -> None:
        """Wait for a connection, within the deadlines."""
        due = self._settings.deadlines.due(Phase.CONNECT, self._started_at, self._again_at)
        try:
            async with asyncio.timeout(due.at - monotonic() if due is not None else None):
                await wait
        except DeadlineExceeded:
            raise
        except TimeoutError:
            if due is None:
                raise
            raise DeadlineExceeded(due.phase, due.waited_s) from None

    def _fail(self, error: TurnError | ClientClosed) -> NoReturn:
        self._metrics.error = type(error).__name__
        self._metrics.error_code = getattr(error, "code", None)
        self._finish("failed")
        raise error

    def _finish(self, outcome: Literal["answered", "left", "failed"]) -> None:
        if self._metrics.outcome is None:
            self._metrics.outcome = outcome
            self._metrics.total_s = monotonic() - self._started_at
            if self._number:  # a stream that was never entered has not begun
                self._settings.hooks.finished(self.metrics)


def _output_of(response: Response) -> tuple[Item, ...]:
    """The output as it can be sent again."""
    return tuple(Item.from_output(bytes(item)) for item in response.encoded_output or ())
