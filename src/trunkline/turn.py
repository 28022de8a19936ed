"""One turn: asked until it is answered, or until there is nothing left to try.

Nothing here runs in a task of its own: the caller's task drives the turn. Once the caller has seen output,
nothing is asked again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

from .attempt import Attempt
from .baselines import Baseline, Plan
from .connection import Connection
from .deadlines import Deadlines, Phase
from .errors import DeadlineExceeded, TurnError
from .events import ResponseCompleted, ResponseIncomplete
from .history import History
from .items import Item
from .metrics import Hooks, TurnMetrics
from .placement import Owner, can_continue
from .pool import Place, Pool
from .recovery import Action, Decision, Facts, Policy, decide
from .request import Fields, frame, size_in_full
from .response import Response


@dataclass(frozen=True, slots=True)
class Question:
    """What a turn asks.

    Attributes:
        url: where.
        fields: everything but the items.
        asked: all items, as the caller holds them.
        owner: whose turn it is; ``None`` for one without memory.
        generate: ``False`` for a warm-up.
    """

    url: str
    fields: Fields
    asked: History
    owner: Owner | None
    generate: bool = True


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """How turns are made.

    Attributes:
        deadlines: how long they wait.
        policy: how often they are asked.
        max_buffered_events: how many events may wait for the caller.
        hooks: who hears of turns that begin and end.
        replay_actions: requests whose hosted tools act (``mcp``, for example) may be asked again too.
    """

    deadlines: Deadlines = field(default_factory=Deadlines)
    policy: Policy = field(default_factory=Policy)
    max_buffered_events: int = 16_384
    replay_actions: bool = False
    hooks: Hooks = field(default_factory=Hooks)

    def waiting(self, deadlines: Deadlines) -> TurnSettings:
        """The same with other deadlines."""
        return replace(self, deadlines=deadlines)


class Turn:
    """A question, and the attempts to have it answered.

    Attributes:
        question: what is asked.
        metrics: its figures.
        attempt: the attempt that runs, or the last one.
    """

    def __init__(self, pool: Pool, question: Question, settings: TurnSettings) -> None:
        self.question = question
        self.metrics = TurnMetrics(model=question.fields.model)
        self._pool = pool
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._avoiding: list[Connection] = []
        self._parent: Baseline | None = None
        self.attempt = self._new_attempt()

    async def start(self) -> None:
        """Send the request, as often as it takes. Cancelling gives the place back.

        Raises:
            TurnError: the last failure, when asking again is not possible or not right.
        """
        self._pool.metrics.turns += 1
        self._settings.hooks.started(self.metrics)
        await self._until_sent()

    async def recover(self, error: TurnError) -> None:
        """The attempt has failed: ask again.

        Raises:
            TurnError: the failure itself, when asking again is not possible or not right.
        """
        await self._prepare_again(error)
        await self._until_sent()

    def leave(self) -> None:
        """Nobody waits for this turn any more: its lane drains. May be called again."""
        self.attempt.leave()
        self._finish("left")

    def conclude(self, final: ResponseCompleted | ResponseIncomplete) -> tuple[Item, ...]:
        """The response is there: remember it as a baseline. Its output items, as they can be sent again."""
        response = final.response
        encoded = response.encoded_output or self.attempt.done_items
        output = tuple(Item.from_output(bytes(item)) for item in encoded)
        self.metrics.usage = response.usage
        self._finish("answered")
        if isinstance(final, ResponseCompleted):
            self._remember(response, output)
        return output

    def _remember(self, response: Response, output: tuple[Item, ...]) -> None:
        question, run = self.question, self.attempt.run
        if question.owner is None or question.fields.brings_context:
            return
        question.owner.baselines.commit(
            Baseline(
                response_id=response.id,
                model=question.fields.model,
                stored=response.store is True,
                place=run.lane if run is not None else None,
                length=len(question.asked),
                mark=question.asked.mark,
                output=output,
            )
        )

    async def _until_sent(self) -> None:
        while True:
            try:
                await self._ask()
                return
            except TurnError as error:
                await self._prepare_again(error)
            except BaseException:
                self.attempt.interrupt()
                raise

    async def _ask(self) -> None:
        self.metrics.attempts += 1
        self._parent = None
        self.attempt = attempt = self._new_attempt()
        place = await self._take_place(attempt)
        attempt.connection, attempt.run = place.connection, place.run
        if not place.connection.is_ready:
            await self._bounded(place.connection.ready())
        self.metrics.connected_s = self._loop.time() - self._started_at
        self._parent = place.plan.parent
        request = self._frame(place)
        attempt.begin(request)
        self._count(place, len(request))

    def _new_attempt(self) -> Attempt:
        settings = self._settings
        return Attempt(settings.deadlines, settings.max_buffered_events, self.metrics, self._started_at)

    async def _take_place(self, attempt: Attempt) -> Place:
        question = self.question
        while True:
            candidates = self._candidates()
            place = self._pool.take(
                question.url, question.owner, question.asked, candidates, attempt, self._avoiding
            )
            if place is not None:
                return place
            await self._bounded(self._pool.room())

    def _candidates(self) -> list[Plan]:
        question = self.question
        if question.owner is None or question.fields.brings_context:
            return []
        plans = question.owner.baselines.candidates(question.asked, question.fields.model)
        return [plan for plan in plans if plan.parent is not None and can_continue(plan.parent)]

    def _frame(self, place: Place) -> bytes:
        parent = place.plan.parent
        return frame(
            self.question.fields,
            place.plan.delta,
            previous_response_id=parent.response_id if parent is not None else None,
            stream_id=place.run.lane.name,
            generate=self.question.generate,
        )

    def _count(self, place: Place, size_bytes: int) -> None:
        metrics, pool, plan = self.metrics, self._pool.metrics, place.plan
        metrics.mode = "full" if plan.is_full else "delta"
        metrics.lane = place.run.lane.name
        metrics.connection = place.connection.number
        metrics.fork = place.is_fork
        metrics.items_sent = len(plan.delta)
        metrics.bytes_sent += size_bytes
        metrics.full_bytes = size_in_full(self.question.fields, self.question.asked)
        pool.fulls += plan.is_full
        pool.deltas += not plan.is_full
        pool.forks += place.is_fork

    async def _prepare_again(self, error: TurnError) -> None:
        """What recovery decides, up to the moment of asking again."""
        attempt, parent, owner = self.attempt, self._parent, self.question.owner
        attempt.leave()
        error.output_seen = attempt.taken
        decision = decide(self._facts(error), self._settings.policy)
        if decision.forget_parent and parent is not None and owner is not None:
            owner.baselines.forget(parent.response_id)
        if decision.action in (Action.RAISE, Action.HTTP) or decision.cause is None:
            self._fail(error)
        self.metrics.recoveries.append(decision.cause)
        self._pool.metrics.recoveries[decision.cause] += 1
        await self._go_on(decision, attempt.connection)

    async def _go_on(self, decision: Decision, connection: Connection | None) -> None:
        if decision.action is Action.ELSEWHERE and connection is not None:
            self._avoiding.append(connection)
        if decision.delay_s:
            try:
                await asyncio.sleep(decision.delay_s)
            except asyncio.CancelledError:
                self.attempt.interrupt()
                raise

    def _facts(self, error: TurnError) -> Facts:
        total = self._settings.deadlines.total
        return Facts(
            error=error,
            output_seen=self.attempt.taken,
            attempt=self.metrics.attempts,
            remaining_s=None if total is None else self._started_at + total - self._loop.time(),
            may_replay=self._settings.replay_actions or not self.question.fields.acts,
            names_parent=self._parent is not None,
            jitter=random.random(),
        )

    async def _bounded(self, wait: Awaitable[None]) -> None:
        """Wait for a connection, within the deadlines."""
        due = self._settings.deadlines.due(Phase.CONNECT, self._started_at, self._loop.time())
        try:
            async with asyncio.timeout_at(due.at if due is not None else None):
                await wait
        except DeadlineExceeded:
            raise
        except TimeoutError:
            if due is None:
                raise
            raise DeadlineExceeded(due.phase, due.waited_s) from None

    def _fail(self, error: TurnError) -> NoReturn:
        self.metrics.error = type(error).__name__
        self._finish("failed")
        raise error

    def _finish(self, outcome: Literal["answered", "left", "failed"]) -> None:
        if self.metrics.outcome is None:
            self.metrics.outcome = outcome
            self.metrics.total_s = self._loop.time() - self._started_at
            self._settings.hooks.finished(self.metrics)
