"""What a caller iterates: the events of one turn.

::

    async with chat.send("Hello") as stream:
        async for event in stream:
            ...
    stream.response, stream.metrics

Leaving the block early is barge-in: the answer drains unseen, and the next turn does not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from ._network.background import call_in
from ._observe.metrics import TurnMetrics
from ._protocol.events import (
    OutputTextDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseIncomplete,
    ServerEvent,
)
from ._protocol.history import History
from ._protocol.items import Item, TurnInput
from ._protocol.response import Response
from ._turns.inbox import Inbox
from ._turns.turn import Answer, Turn
from .arguments import check_function, check_kind, is_async
from .errors import ClientClosed, TurnError, UsageError
from .text_format import TextFormat

EventHook: TypeAlias = Callable[[ServerEvent], object]
"""A function that is called with each event. If it returns an awaitable, that is awaited before the next."""

_NOTHING: Final[deque[ServerEvent]] = deque()


class Outcome(Enum):
    """How a stream ended."""

    ANSWERED = "answered"
    LEFT = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ending:
    """What is left of a turn.

    Attributes:
        outcome: how it ended.
        answer: what it brought, when it was answered.
        asked: the context of the response that the caller read last.
        text: the text of that response that the caller received.
        said: what the service had accepted into it, or after it.
        output_seen: the caller received a part of the answer.
    """

    outcome: Outcome
    answer: Answer | None
    asked: History
    text: str = field(repr=False)
    said: list[Item]
    output_seen: bool


class ResponseStream:
    """The events of one turn, as an asynchronous iterator inside an ``async with`` block.

    Entering the block sends the request. Iterating gives every event in order, unknown ones included, and
    ends after the terminal one. Cancelling a wait for an event loses nothing. Leaving the block before the
    end is barge-in. A stream that is neither read nor left is ended when it is garbage-collected.

    Raises, from entering or iterating:
        TurnError: the turn ended without a response; see `trunkline.errors`.
    """

    __slots__ = (
        "__weakref__",
        "_ended",
        "_entered",
        "_events",
        "_inbox",
        "_on_begin",
        "_on_end",
        "_on_event",
        "_on_heard",
        "_recovering",
        "_response",
        "_responses",
        "_text",
        "_text_before",
        "_text_format",
        "_turn",
    )

    def __init__(
        self,
        turn: Turn,
        on_begin: Callable[[ResponseStream, Turn], None] | None = None,
        on_end: Callable[[Ending], None] | None = None,
        on_heard: Callable[[ResponseStream, str], None] | None = None,
        text_format: TextFormat | None = None,
    ) -> None:
        self._turn = turn
        self._inbox: Inbox | None = None
        self._on_begin = on_begin
        self._on_end = on_end
        self._on_heard = on_heard
        self._text_format = text_format
        self._on_event: EventHook | None = None
        self._events: deque[ServerEvent] = _NOTHING
        self._text = bytearray()  # UTF-8: as a list of pieces it would take up ten times as much
        self._text_before = 0
        self._responses = 0
        self._entered = False
        self._recovering = False
        self._ended = False
        self._response: Response | None = None

    @property
    def response(self) -> Response:
        """The final response: status, output, usage; with ``output_text``, ``tool_calls`` and ``parsed``.

        Raises:
            UsageError: the turn has not ended in a response.
        """
        if self._response is None:
            raise UsageError("the stream has no response yet; read it to its end first")
        return self._response

    @property
    def has_response(self) -> bool:
        """Whether it has ended in a response."""
        return self._response is not None

    @property
    def metrics(self) -> TurnMetrics:
        """The turn's figures, so far."""
        return self._turn.metrics

    @property
    def waiting(self) -> int:
        """How many events have come already: so many can be read without a wait."""
        return len(self._events)

    @property
    def is_ended(self) -> bool:
        """Whether it was read to its end, failed, or was left."""
        return self._ended

    @property
    def received_text(self) -> str:
        """The text that was received until now."""
        return self._text.decode()

    def text(self) -> AsyncIterator[str]:
        """The text alone, piece by piece, as it comes."""
        return TextPieces(self)

    async def finish(self, on_event: EventHook | None = None) -> Response:
        """Read to the end and return the final response.

        Args:
            on_event: called with each event, in order; awaited if it returns an awaitable. Text reaches a
                function that is not async as soon as it has been read from the socket, without waking the
                task that waits here: with many answers at once, this is the cheapest way to read. It has to
                return soon, because everything else waits meanwhile. What it raises is raised here.
        """
        check_function(on_event, "on_event", "give a function that takes an event")
        self._listen(on_event if not is_async(on_event) else None)
        try:
            while True:
                try:
                    async for event in self:
                        if on_event is not None:
                            result = on_event(event)
                            if result is not None and isawaitable(result):
                                await result
                    break
                except _Pending as pending:  # from `_hear`, where nothing can be awaited
                    awaitable = pending.awaitable
                await awaitable
        finally:
            self._listen(None)
        return self.response

    async def steer(self, input: TurnInput) -> None:  # noqa: A002 - the name of the Responses API
        """Say something into the running answer. It goes on in this stream, as a response of its own.

        Returns when the service has accepted it. Should it hand the input back later, that is an event
        ``response.steer.failed``, and the input is in `returned_steers`.

        Args:
            input: a string or user messages.

        Raises:
            SteerRefused: the service handed the input back; the answer goes on without it.
            UsageError: no response runs here, or it runs over HTTP.
            TurnError: the connection was lost; what became of the steer is not known.
        """
        self._check_open()
        await asyncio.shield(self._turn.steer(input))

    @property
    def returned_steers(self) -> list[Any]:
        """Steers that were handed back after they had been accepted."""
        return self._turn.returned_steers

    def heard(self, text: str) -> None:
        """Replace the text of this answer in the history by what the listener heard, or by nothing.

        `Conversation.heard` does the same for everything since the last user input, such as the responses
        before and after tool calls. Speech is slower than text, so this may be called after the end as well,
        until the conversation's next turn. A stream that is still open is left.

        Raises:
            UsageError: the stream is not a conversation's, or its conversation has gone on.
        """
        if self._on_heard is None:
            raise UsageError(
                "heard() needs the stream of a Conversation, and the caller keeps this history; "
                "give it with the text that was heard in the next turn"
            )
        check_kind(text, "text", str, "give the text that was heard, empty for nothing")
        self.close()
        self._on_heard(self, text)

    def close(self) -> None:
        """Leave the stream. The rest of the answer drains unseen. May be called again."""
        self._end(Outcome.LEFT)

    async def aclose(self) -> None:
        """The same as `close`, for `contextlib.aclosing`."""
        self.close()

    async def __aenter__(self) -> Self:
        if self._entered or self._ended:
            raise UsageError("this stream was already entered; call send() again for another turn")
        if self._on_begin is not None:
            self._on_begin(self, self._turn)
        self._entered = True
        try:
            await self._turn.start()
        except (TurnError, ClientClosed):
            self._end(Outcome.FAILED)
            raise
        except BaseException:
            self._end(Outcome.LEFT)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent:
        # The inbox is set once the caller has taken an event of it, when no replay can exchange it: see
        # `_next`.
        if not self._events:
            inbox = self._inbox
            if inbox is not None and not inbox.is_over:
                await inbox.wait
            if not self._events:
                return await self._next()
        event = self._events.popleft()
        if type(event) is OutputTextDelta:
            self._text += event.delta.encode()
        elif type(event) is ResponseCreated:
            self._begin_response()
        return event

    def _listen(self, on_event: EventHook | None) -> None:
        self._on_event = on_event
        if self._inbox is not None:
            self._inbox.on_text = self._hear if on_event is not None else None

    def _hear(self, event: OutputTextDelta) -> None:
        """Text that came while `finish` waited."""
        on_event, inbox = self._on_event, self._inbox
        assert on_event is not None  # see `_listen`
        assert inbox is not None
        self._text += event.delta.encode()
        try:
            result = on_event(event)
        except Exception as error:
            inbox.wait.end_with(error)
            return
        if result is not None and isawaitable(result):
            inbox.wait.end_with(
                _Pending(result)
            )  # `finish` awaits it; text that follows is buffered meanwhile

    def _begin_response(self) -> None:
        self._responses += 1
        self._text_before = len(self._text)

    def _check_open(self) -> None:
        if not self._entered:
            raise UsageError("the stream is not open; enter it first with 'async with'")

    async def _next(self) -> ServerEvent:
        self._check_open()
        while not self._ended:
            inbox = self._turn.inbox
            if inbox is None or self._turn.is_asking:  # an earlier wait was cancelled between two attempts
                await self._recover()
            elif inbox.events:
                self._inbox, self._events = inbox, inbox.take()
                self._listen(self._on_event)
                return await self.__anext__()
            elif inbox.reception.final is not None:
                return self._conclude(inbox.reception.final)
            elif inbox.reception.failure is not None:
                await self._recover()
            else:
                await inbox.wait
        raise StopAsyncIteration

    async def _recover(self) -> None:
        if self._recovering:
            raise UsageError("another task is already reading this stream; read each stream from one task")
        self._recovering = True
        try:
            await self._turn.recover()
        except (TurnError, ClientClosed):
            self._end(Outcome.FAILED)
            raise
        finally:
            self._recovering = False

    def _conclude(self, final: ResponseCompleted | ResponseIncomplete) -> ServerEvent:
        self._response = final.response
        if self._text_format is not None:
            final.response.parse_with(self._text_format.parse)
        self._end(Outcome.ANSWERED, self._turn.conclude(final))
        return final

    def _end(self, outcome: Outcome, answer: Answer | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        self._listen(None)
        self._inbox = None
        output_seen = self._turn.output_seen
        self._turn.leave()
        self._events = _NOTHING
        if self._on_end is not None and self._entered:
            self._on_end(self._ending(outcome, answer, output_seen))

    def _ending(self, outcome: Outcome, answer: Answer | None, output_seen: bool) -> Ending:
        steered = max(0, self._responses - 1)
        text = self._text[self._text_before :].decode()
        said = self._turn.said_after(steered)
        return Ending(outcome, answer, self._turn.asked_until(steered), text, said, output_seen)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Bound as a default, because the interpreter empties modules at its end.
        if not self._entered or self._ended or is_finalizing():
            return
        words = f"{self!r} was neither read to its end nor left"
        try:
            warnings.warn(words, ResourceWarning, stacklevel=2, source=self)  # may be made to raise
        finally:
            with contextlib.suppress(RuntimeError):  # its event loop is closed, and all on it is gone already
                call_in(self._turn.loop, self.close)

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open" if self._entered else "new"
        return f"<ResponseStream: {state}>"


class _Pending(Exception):
    """An awaitable that an event function returned where nothing can be awaited."""

    def __init__(self, awaitable: Awaitable[object]) -> None:
        super().__init__()
        self.awaitable = awaitable


class TextPieces(AsyncIterator[str]):
    """The text among events.

    Not an asynchronous generator: the event loop would have to finish one that is dropped, and may not be
    able to.
    """

    __slots__ = ("_events",)

    def __init__(self, events: AsyncIterator[ServerEvent]) -> None:
        self._events = events

    async def __anext__(self) -> str:
        while True:
            event = await anext(self._events)
            if type(event) is OutputTextDelta:
                return event.delta

    async def aclose(self) -> None:
        """For ``contextlib.aclosing``; the stream or run itself stays open."""


__all__ = ["Ending", "EventHook", "Outcome", "ResponseStream", "TextPieces"]
