"""Answering a call for a response: a turn over a WebSocket, as an HTTP answer.

The head of the answer is held back until the first output, so that a refusal is an HTTP status and the
client can repeat the request. After `PATIENCE_S` without output the head is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from functools import partial
from typing import Any, Final

from .._decisions.baselines import Baselines
from .._decisions.lineage import Answered, Place, Way
from .._network.background import call_in
from .._protocol.events import ServerEvent
from .._protocol.events import Steer as SteerOnWire
from .._protocol.items import Item
from .._protocol.response import Response
from .._protocol.steers import SteerState
from .._turns.turn import Turn
from ..errors import (
    ClientClosed,
    ConfigurationError,
    ResponseFailed,
    ServiceError,
    TurnError,
)
from ..stream import ResponseStream
from .call import Call, Header
from .outcome import Answer, Break, Broken, Elsewhere
from .recording import Recording
from .refusals import JSON_TYPE, broken, parent_not_found, refused
from .sse import KEEP_ALIVE, Rewriting, whole_failure
from .upstream import OverHttp, Settings, Upstream, limited
from .wanted import Wanted

PATIENCE_S: Final = 15.0
"""The time without output after which the head of a streamed answer is sent, and between comments."""
_STREAM_TYPE: Final[Header] = ("content-type", "text/event-stream; charset=utf-8")


class Exchange:
    """One request of a caller and its turn.

    Args:
        upstream: the sockets.
        wanted: the request.
        place: its place among the earlier ones.
        turn: its turn, which has not started.
    """

    def __init__(self, upstream: Upstream, wanted: Wanted, place: Place, turn: Turn) -> None:
        self.wanted: Wanted = wanted
        self.place: Place = place
        # Clients drop streams of HTTP answers without a warning. The collector may finalise this one first.
        self.stream: ResponseStream = ResponseStream(turn, warns=False)
        self.rewriting: Rewriting = Rewriting(
            wanted.parent_id,
            partial(_given, turn),
            upstream.memory.given.give,
            keeps_parent=place.way is Way.AS_GIVEN,
        )
        self._upstream = upstream
        self._turn = turn
        self._is_over = False
        upstream.running += 1

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers that tell how the request was sent."""
        metrics = self.stream.metrics
        headers: list[Header] = [
            ("x-trunkline-mode", metrics.mode),
            ("x-trunkline-transport", metrics.transport),
        ]
        if metrics.lane is not None:
            headers.append(("x-trunkline-lane", metrics.lane))
        return tuple(headers)

    def took(self, final: ServerEvent) -> None:
        """Record the response, whose last event was read."""
        memory, place, response = self._upstream.memory, self.place, self.stream.response
        memory.has_received = True
        steers, received = self._turn.steers, response.output
        baselines = place.owner.baselines if place.owner is not None else Baselines()
        if steers.all:
            # The context of the last response has the steered ones, and what only the service has of them.
            place.context = self._turn.asked_until(len(steers.segments))
            received = [
                *(item for each in steers.segments for item in each.response.response.output),
                *received,
            ]
        if steers.waiting:
            baselines.forget(response.id)  # its lane would add the steers, which were handed back
        baseline = next((each for each in baselines if each.response_id == response.id), None)
        if baseline is not None:
            items = baseline.output
        else:
            items = tuple(Item.from_output(bytes(item)) for item in response.encoded_output or ())
        is_stored = response.store is True and self._upstream.keeps_responses and not steers.waiting
        answered = Answered(self.rewriting.shown(response.id), items, received, is_stored)
        memory.lineage.record(place, answered, self._upstream.now())

    def end(self) -> None:
        """Leave the answer, if the turn has not ended. Idempotent."""
        self.stream.close()
        if not self._is_over:
            self._is_over = True
            if self._begun is not None:  # the server may take its id for this response from now on
                self.rewriting.shown(self._begun.id)
            self._upstream.running -= 1
            self._upstream.memory.lineage.give_up(self.place)

    @property
    def _begun(self) -> Response | None:
        """The response of the latest attempt, once it has begun."""
        inbox = self._turn.inbox
        return inbox.reception.response if inbox is not None else None

    # Steers.

    def runs(self, response_id: str) -> bool:
        """Whether the running response has this id."""
        running = self._begun
        return running is not None and self.rewriting.shown(running.id) == response_id

    def steer(self, given: Any) -> None:
        """Steer the running response. The stream has the outcome.

        Raises:
            ConfigurationError: the input holds something other than user messages.
            UsageError: no response runs, or it runs over HTTP.
        """
        self._turn.steer(given)

    # Failures.

    @property
    def failure_frame(self) -> bytes:
        """The event that failed the turn, as received; empty for another failure."""
        inbox = self._turn.inbox
        failure = inbox.reception.failure if inbox is not None else None
        return failure.raw if failure is not None else b""

    @property
    def may_have_acted(self) -> bool:
        """Whether the request had side effects, if the service got it."""
        return self._turn.request.acts

    def has_silent_socket(self, error: TurnError) -> bool:
        """Whether the failure is a reason for HTTP: no socket of this upstream has brought an event yet."""
        is_repeatable = error.sent and not error.started and not self.may_have_acted
        return (
            is_repeatable and not self._upstream.memory.has_received and not isinstance(error, ServiceError)
        )

    def elsewhere(self) -> Elsewhere:
        """The same request over HTTP."""
        body = None
        if self.place.names_unstored:
            body = self.wanted.http_body(self.place.context.items())
        recording = Recording(self._upstream, self.place, self.rewriting if body is not None else None)
        return Elsewhere(body, self.may_have_acted, self.wanted.is_streamed, recording)

    def failed(self, error: ResponseFailed) -> Answer:
        """The answer to a request whose response failed before its output."""
        if not self.wanted.is_streamed:
            return Answer(200, (JSON_TYPE, *self.headers), self.rewriting.resource_in(self.failure_frame))
        return Answer(200, (_STREAM_TYPE, *self.headers), self.failed_events(error))

    def failed_events(self, error: ServiceError) -> bytes:
        """The events that end a stream whose response failed, or met an error."""
        raw = self.failure_frame
        if not isinstance(error, ResponseFailed):
            return self.rewriting.frame("error", raw)
        events = [("response.failed", raw)] if error.output_seen else whole_failure(raw)
        return b"".join(self.rewriting.frame(name, frame) for name, frame in events)

    def __repr__(self) -> str:
        return f"<Exchange {self.place!r}>"


def _given(turn: Turn, meant: SteerOnWire) -> Any:
    """The input of a steer, as the caller gave it."""
    steers = turn.steers.all
    if meant.id is None:  # one that the server does not name: the latest that was refused so
        steers = tuple(each for each in steers if each.state is SteerState.REFUSED and each.id is None)
    else:
        steers = tuple(each for each in steers if each.id == meant.id)
    return steers[-1].given if steers else None


class Events:
    """The events of a turn as the body of a streamed answer. Iterated once.

    Args:
        exchange: the request and its turn.
        first: the beginning of the body; empty if there was no output for `PATIENCE_S`.
    """

    def __init__(self, exchange: Exchange, first: bytes) -> None:
        self._exchange = exchange
        self._first = first
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange, stream = self._exchange, self._exchange.stream
        chunk, self._first = self._first, b""
        try:
            while not chunk and not stream.is_ended:
                yield KEEP_ALIVE
                chunk = await _first_chunk(exchange)
            yield chunk
            while not stream.is_ended:
                yield await _next_chunk(exchange)
        except ServiceError as error:
            yield exchange.failed_events(error)
        except TurnError as error:
            raise broken(error) from error
        except (ClientClosed, OverHttp) as error:
            raise Broken(
                "the connection was closed before the answer was complete", Break.PROTOCOL
            ) from error
        finally:
            exchange.end()

    def runs(self, response_id: str) -> bool:
        """Whether the running response has this id."""
        return self._exchange.runs(response_id)

    def steer(self, given: Any) -> None:
        """Steer the running response: see `Exchange.steer`."""
        self._exchange.steer(given)

    async def aclose(self) -> None:
        """Leave the answer. Idempotent."""
        self._exchange.end()

    def __del__(self) -> None:
        if not self._loop.is_closed():
            call_in(self._loop, self._exchange.end)

    def __repr__(self) -> str:
        return f"<Events of {self._exchange!r}>"


async def answer(upstream: Upstream, call: Call, key: Hashable, settings: Settings) -> Answer | Elsewhere:
    """Answer a call for a response. Cancelling leaves the answer.

    Args:
        upstream: the sockets for the call.
        call: the call; its body is known.
        key: the key of its conversation; ``None`` for none.
        settings: the settings of its caller.

    Raises:
        Broken: the connection broke before the answer began.
    """
    assert call.body is not None
    try:
        wanted, body = upstream.memory.read(call.body)
        place = upstream.memory.lineage.find(wanted.asked(body, key), upstream.now())
        if place.way is Way.AS_GIVEN and upstream.memory.given.is_ambiguous(wanted.parent_id or ""):
            return parent_not_found(wanted.parent_id or "")
        exchange = _exchange(upstream, wanted, place, call, settings)
    except (ValueError, RecursionError, ConfigurationError):
        return Elsewhere()  # the service names the fault
    is_answered = False
    try:
        found = await (_streamed(exchange) if wanted.is_streamed else _complete(exchange))
        is_answered = True
        return found
    except (OverHttp, ConfigurationError, ClientClosed):
        return exchange.elsewhere()
    except ResponseFailed as error:
        return exchange.failed(error)
    except TurnError as error:
        if exchange.has_silent_socket(error):
            upstream.carried_nothing()
            return exchange.elsewhere()
        outcome = refused(error, exchange.failure_frame, acts=exchange.may_have_acted)
        if isinstance(outcome, Broken):
            raise outcome from error
        return outcome
    finally:
        if not is_answered:
            exchange.end()


def _exchange(upstream: Upstream, wanted: Wanted, place: Place, call: Call, settings: Settings) -> Exchange:
    fields = wanted.fields
    if place.way is Way.AS_GIVEN and wanted.parent_id is not None:
        fields = fields.naming(wanted.parent_id)
    limits, is_streamed = call.timeouts, wanted.is_streamed
    deadlines = limited(settings.deadlines, limits.connect, limits.read, is_streamed=is_streamed)
    turn = upstream.turn(
        fields, place.context, place.owner, deadlines, settings.hooks, generate=call.generate
    )
    return Exchange(upstream, wanted, place, turn)


async def _streamed(exchange: Exchange) -> Answer:
    await exchange.stream.__aenter__()
    chunk = await _first_chunk(exchange)
    return Answer(
        200, (_STREAM_TYPE, ("cache-control", "no-cache"), *exchange.headers), Events(exchange, chunk)
    )


async def _complete(exchange: Exchange) -> Answer:
    last: ServerEvent | None = None

    def keep(event: ServerEvent) -> None:
        nonlocal last
        last = event

    async with exchange.stream as stream:
        response = await stream.finish(keep)
        assert last is not None
        exchange.took(last)
    body = exchange.rewriting.resource_in(last.raw, response.encoded_output)
    return Answer(200, (JSON_TYPE, *exchange.headers), body)


async def _first_chunk(exchange: Exchange) -> bytes:
    """The events up to the first output; empty if there is none for `PATIENCE_S`."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await _next_chunk(exchange)
    except TurnError:  # a deadline is a TimeoutError too
        raise
    except TimeoutError:
        return b""


async def _next_chunk(exchange: Exchange) -> bytes:
    """The next event, and those that have arrived with it."""
    stream, rewriting = exchange.stream, exchange.rewriting
    parts: list[bytes] = []  # joined once: a caller that reads slowly finds thousands of events
    try:
        while True:
            event = await stream.__anext__()
            if stream.is_ended:
                exchange.took(event)
            parts.append(rewriting.event(event))
            if not stream.waiting:
                return b"".join(parts)
    except StopAsyncIteration:  # another task has closed the stream
        return b"".join(parts)


__all__ = ["PATIENCE_S", "Events", "answer"]
