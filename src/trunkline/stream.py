"""Stream of the events of one turn.

::

    async with chat.send("Hello") as stream:
        async for event in stream:
            ...
    stream.response, stream.metrics

Leaving the block early is barge-in: the service finishes the answer, its remaining events are dropped, and
the next turn does not wait for them. States of a stream::

    NEW ──enter──▶ SENDING ──sent──▶ OPEN ──terminal event, close──▶ ENDED
                      ▲                │
                      └────failure─────┘

A failure that cannot be recovered ends the stream in SENDING; `close` ends it in every state.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum, auto
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from msgspec.structs import replace

from ._network.background import call_in
from ._observe.hooks import TurnHook
from ._observe.metrics import TurnMetrics
from ._protocol.events import (
    OutputTextDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseIncomplete,
    ServerEvent,
)
from ._protocol.items import TurnInput
from ._protocol.response import Response
from ._protocol.whole_text import text_left, told, with_text
from ._turns.inbox import Inbox
from ._turns.turn import Answer, Turn
from .arguments import check_function, check_kind, is_async
from .errors import ClientClosed, TurnError, UsageError
from .text_format import TextFormat
from .tracebacks import discreet
from .transcript import Claim, Ending, Transcript

EventHook: TypeAlias = Callable[[ServerEvent], object]
"""A function that takes each event. An awaitable that it returns is awaited before the next event."""

_NOTHING: Final[deque[ServerEvent]] = deque()


class _State(Enum):
    """The states of a stream."""

    NEW = auto()
    """Not entered: nothing was sent."""

    SENDING = auto()
    """A task sends the request, for the first time or again after a failure."""

    OPEN = auto()
    """The request was sent, and events can be read."""

    ENDED = auto()
    """Read to the end, failed or closed: there are no further events."""


class ResponseStream:
    """The events of one turn, as an asynchronous iterator inside an ``async with`` block.

    Entering the block sends the request. Iterating gives every event in order, unknown ones included, and
    ends after the terminal event. Cancelling the wait for an event loses no event. Leaving the block before
    the end is barge-in. A stream that is garbage-collected before its end is closed, with a
    ``ResourceWarning``.

    Text that the server sent without deltas, such as in the final response only, is given as an
    `OutputTextDelta` too, and a refusal as a `RefusalDelta`. Its ``sequence_number`` is ``None``, and its
    ``raw`` has no position.

    Recovery happens in the task that reads: a failed request is sent again while the stream is entered or
    read.

    Args:
        turn: the turn, which has not started.
        text_format: the type of the output text, for ``response.parsed``.
        transcript: the history that the turn extends; ``None`` if the application keeps the history.
        begin: called when the stream is entered; returns the claim under which the turn extends the
            transcript. Entering raises its exceptions.
        warns: warn if it is dropped before its end.

    Raises, from entering or iterating:
        ConversationBusy: another turn of the conversation is running.
        TurnError: the turn ended without a response; see `trunkline.errors`.
        ClientClosed: the client was closed.
        UsageError: the stream was not entered, was entered before, or another task is reading it.
    """

    __slots__ = (
        "__weakref__",
        "_begin",
        "_claim",
        "_events",
        "_inbox",
        "_on_event",
        "_response",
        "_responses",
        "_state",
        "_text",
        "_text_before",
        "_text_format",
        "_transcript",
        "_turn",
        "_warns",
    )

    def __init__(
        self,
        turn: Turn,
        *,
        text_format: TextFormat | None = None,
        transcript: Transcript | None = None,
        begin: Callable[[ResponseStream], Claim] | None = None,
        warns: bool = True,
    ) -> None:
        self._turn = turn
        self._warns = warns
        self._text_format = text_format
        self._transcript = transcript
        self._begin = begin
        self._claim: Claim | None = None
        self._state = _State.NEW
        self._inbox: Inbox | None = None
        self._events: deque[ServerEvent] = _NOTHING
        self._on_event: EventHook | None = None
        self._text = bytearray()  # UTF-8: a list of pieces takes ten times as much memory
        self._text_before = 0  # the size of the text of all responses but the last one
        self._responses = 0
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
        """Whether the stream has ended with a response."""
        return self._response is not None

    @property
    def metrics(self) -> TurnMetrics:
        """The metrics of the turn at this moment: a copy."""
        return self._turn.metrics

    @property
    def may_act(self) -> bool:
        """Whether its request may change something on the service's side: repeated, it may do so twice.

        It names a ``conversation`` or a ``prompt``, or has a hosted tool that is not known to be harmless.
        """
        return self._turn.request.acts

    @property
    def waiting(self) -> int:
        """The number of events that can be read without waiting."""
        return len(self._events)

    @property
    def is_ended(self) -> bool:
        """Whether the stream was read to its end, failed or was closed."""
        return self._state is _State.ENDED

    @property
    def received_text(self) -> str:
        """The text read so far, of all responses of the turn."""
        return self._text.decode()

    def text(self) -> AsyncIterator[str]:
        """An iterator over the text deltas alone."""
        return TextPieces(self)

    async def finish(self, on_event: EventHook | None = None) -> Response:
        """Read to the end and return the final response.

        Cancelling loses no event: reading can be continued. If another task closes the stream meanwhile, this
        raises `UsageError`.

        Args:
            on_event: called with each event, in order; an awaitable that it returns is awaited. While
                ``finish`` waits, a function that is not async gets text deltas directly from the socket
                callback, without a task switch. This is the cheapest way to read many streams; the function
                must return quickly, because it delays all other streams. Its exceptions are raised here.

        Raises:
            TurnError: the turn ended without a response.
            UsageError: the stream is not open, or was closed before its end.
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
                except _Pending as pending:  # from `_hear`
                    awaitable = pending.awaitable
                await awaitable
        finally:
            self._listen(None)
        return self.response

    async def steer(self, input: TurnInput) -> None:  # noqa: A002 - the name of the Responses API
        """Add a user message while the model is still answering.

        The answer continues in this stream, as a further response. Returns when the service has accepted the
        steer. The service may still return an accepted steer later: an event ``response.steer.failed``
        reports it, and `returned_steers` lists it. Cancelling the wait does not withdraw the steer.

        Args:
            input: a string or user messages.

        Raises:
            SteerRefused: the service returned the steer, does not know steers, or did not acknowledge it
                within 10 s (code ``not_acknowledged``); or 16 earlier ones are not acknowledged (code
                ``too_many_pending_steers``). The answer continues without it.
            UsageError: no response is running, the response runs over HTTP, or the stream was closed first.
            TurnError: the connection failed; whether the service accepted the steer is unknown.
        """
        try:
            acknowledged = self._steer(input)
        finally:
            del input  # a traceback would show it
        await asyncio.shield(acknowledged)

    @discreet
    def _steer(self, given: TurnInput) -> asyncio.Future[None]:
        self._check_open()
        return self._turn.steer(given)

    @property
    def returned_steers(self) -> list[Any]:
        """The inputs of steers that the service returned after it had accepted them."""
        return self._turn.returned_steers

    @discreet
    def heard(self, text: str) -> None:
        """Replace the text of this answer in the history by the part that the listener heard.

        `Conversation.heard` does the same for all text since the last user input, such as that of responses
        before and after tool calls. May be called until the conversation's next turn begins, also after the
        end of the stream. A stream that is open is closed first.

        Args:
            text: the text that was heard; empty for none.

        Raises:
            ConfigurationError: the text is not a string.
            UsageError: the stream is not a conversation's, was never entered, or the next turn has begun.
        """
        if self._transcript is None:
            raise UsageError(
                "heard() needs a stream of a Conversation, but the application keeps this history; "
                "replace the text in the input of the next turn"
            )
        check_kind(text, "text", str, "give the text that was heard, empty for nothing")
        if self._claim is None:
            raise UsageError("heard() has no answer to change: the stream was never entered")
        self.close()
        self._transcript.heard_of(self._claim, text)

    def when_drained(self, function: TurnHook) -> None:
        """Call a function when the service has ended an answer that this stream does not read to its end.

        The same as ``Hooks.turn_drained``, for this turn only. Call it before the stream is left.

        Args:
            function: takes the `TurnMetrics`, whose ``usage`` has the tokens of the whole answer. It is not
                async.
        """
        check_function(function, "function", "give a function that takes TurnMetrics", may_be_async=False)
        self._turn.on_drained = function

    def close(self) -> None:
        """End the stream. The rest of the answer is dropped as it arrives. Idempotent.

        A task that is reading the stream gets no further events.
        """
        self._end()

    async def aclose(self) -> None:
        """The same as `close`, for `contextlib.aclosing`."""
        self.close()

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise UsageError("this stream was already entered; call send() again for another turn")
        if self._begin is not None:
            self._claim = self._begin(self)
        self._state = _State.SENDING
        try:
            await self._turn.start()
        except (TurnError, ClientClosed):
            self._end(failed=True)
            raise
        except BaseException:
            self._end()
            raise
        if self._state is _State.SENDING:  # not closed by another task
            self._state = _State.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent:
        # `_next` sets the inbox when the first event is read: from then on recovery cannot replace it.
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
            if self._responses and (left := self._left_of_steered()):
                self._events.appendleft(event)
                self._text += left.encode()
                return told(left, event.stream_id)
            self._responses += 1
            self._text_before = len(self._text)
        return event

    def _left_of_steered(self) -> str:
        """The text of the response before this one that came without a delta."""
        received = self._text[self._text_before :].decode()
        return self._turn.complete_steered(self._responses - 1, received)

    def _listen(self, on_event: EventHook | None) -> None:
        self._on_event = on_event
        if self._inbox is not None:
            self._inbox.on_text = self._hear if on_event is not None else None

    def _hear(self, event: OutputTextDelta) -> None:
        """Take a text delta from the socket callback while `finish` waits."""
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
            inbox.wait.end_with(_Pending(result))  # `finish` awaits it; later text is buffered meanwhile

    def _check_open(self) -> None:
        if self._state is _State.NEW:
            raise UsageError("the stream is not open; enter it first with 'async with'")

    async def _next(self) -> ServerEvent:
        """The next event if none is buffered: wait, recover, or end."""
        self._check_open()
        while self._state is not _State.ENDED:
            inbox = self._turn.inbox
            if inbox is None or self._turn.is_asking:  # an earlier wait was cancelled during recovery
                await self._recover()
            elif inbox.events:
                self._inbox, self._events = inbox, inbox.take()
                self._listen(self._on_event)
                return await self.__anext__()
            elif (final := inbox.reception.final) is not None:
                received = self._text[self._text_before :].decode()
                text = final.response.output_text
                if left := text_left(text, received):
                    self._text += left.encode()
                    return told(left, final.stream_id)
                if text != received:
                    final = replace(final, response=with_text(final.response, received))
                return self._conclude(final)
            elif inbox.reception.failure is not None:
                await self._recover()
            else:
                await inbox.wait
        raise StopAsyncIteration

    async def _recover(self) -> None:
        if self._state is _State.SENDING:
            raise UsageError(
                "another task is already entering or reading this stream; read each stream from one task"
            )
        self._state = _State.SENDING
        try:
            await self._turn.recover()
        except (TurnError, ClientClosed):
            self._end(failed=True)
            raise
        finally:  # also if it was cancelled: the next wait for an event continues the recovery
            if self._state is _State.SENDING:
                self._state = _State.OPEN

    def _conclude(self, final: ResponseCompleted | ResponseIncomplete) -> ServerEvent:
        self._response = final.response
        if self._text_format is not None:
            final.response.parse_with(self._text_format.parse)
        self._end(self._turn.conclude(final))
        return final

    def _end(self, answer: Answer | None = None, *, failed: bool = False) -> None:
        if self._state is _State.ENDED:
            return
        self._state = _State.ENDED
        self._listen(None)
        self._inbox = None
        self._events = _NOTHING
        # A turn that fails before any output can be sent again, so that the history stays as it was.
        is_unsent = (failed or self._turn.has_failed_a_steer) and not self._turn.output_seen
        self._turn.leave()
        if self._transcript is not None and self._claim is not None and not is_unsent:
            self._transcript.end(self._claim, self._ending(answer))

    def _ending(self, answer: Answer | None) -> Ending:
        steered = max(0, self._responses - 1)
        text = self._text[self._text_before :].decode()
        turn = self._turn
        return Ending(answer, turn.asked_until(steered), text, turn.said_after(steered), turn.request.lead)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # The default binds the function now: the interpreter clears modules when it exits.
        if self._state is _State.NEW or self._state is _State.ENDED or is_finalizing():
            return
        if self._turn.loop.is_closed():  # nothing is left of the answer, and the client reports itself
            return
        message = f"{self!r} was neither read to its end nor left"
        try:
            if self._warns:
                warnings.warn(message, ResourceWarning, stacklevel=2, source=self)  # a filter may raise it
        finally:
            with contextlib.suppress(RuntimeError):  # the event loop is closed, and all its sockets are gone
                call_in(self._turn.loop, self.close)

    def __repr__(self) -> str:
        return f"<ResponseStream: {self._state.name.lower()}>"


class _Pending(Exception):
    """Carries an awaitable from the socket callback, where nothing can be awaited, to `finish`."""

    def __init__(self, awaitable: Awaitable[object]) -> None:
        super().__init__()
        self.awaitable = awaitable


class TextPieces(AsyncIterator[str]):
    """The text deltas among events.

    Not an asynchronous generator: the event loop has to finish a dropped generator, and a closed loop cannot.
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
        """Do nothing: for `contextlib.aclosing`. The stream or run itself stays open."""


__all__ = ["EventHook", "ResponseStream", "TextPieces"]
