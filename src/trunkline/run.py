"""Run of a conversation: consecutive responses, with the calls of Python tools executed between them.

::

    response = await chat.run("What is the weather in Oslo?")

    async with chat.run("And in Bergen?") as run:
        async for event in run:
            ...
    run.response, run.metrics

A run is a coroutine, an asynchronous iterator and a context manager. It starts when it is awaited, iterated
or entered. Leaving its block early, or cancelling the task that awaits it, is barge-in. States of a run::

    NEW ──start──▶ SENDING ──turn──▶ STREAMING ──calls──▶ CALLING
                      ▲                  │                   │
                      └──────────────────│──────outputs──────┤
                                         ▼                   ▼
                                       ENDED ◀──outputs── LEAVING

A turn that fails, and a response without calls of Python tools, end the run. `close` ends it in every state;
calls that are running are cancelled in LEAVING, and their outputs still go into the history.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from enum import Enum, auto
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self

from ._network.background import call_in
from ._observe.metrics import TurnMetrics
from ._protocol.events import ServerEvent
from ._protocol.response import Response
from .errors import MaxTurnsExceeded, TrunklineError, UsageError
from .stream import EventHook, ResponseStream, TextPieces
from .tool_calls import CallTool, ToolCalls, calls_to_execute
from .tools import Toolbox
from .transcript import Claim, Transcript


class _State(Enum):
    """The states of a run."""

    NEW = auto()
    """Not started: nothing was sent."""

    SENDING = auto()
    """The next request is to be sent."""

    STREAMING = auto()
    """A response is read, or its stream is being entered."""

    CALLING = auto()
    """The calls of the last response are executed."""

    LEAVING = auto()
    """The run was closed, and its calls were cancelled; their outputs are not in the history yet."""

    ENDED = auto()
    """There are no further events."""

    @property
    def is_over(self) -> bool:
        """Whether no further request is sent."""
        return self is _State.LEAVING or self is _State.ENDED


class _Reader(Enum):
    """The task that reads a run."""

    NONE = auto()
    READING = auto()
    CANCELLED = auto()
    """Its last wait was cancelled, so that dropping the run is no mistake."""


class ConversationRun(Coroutine[Any, Any, Response], AsyncIterator[ServerEvent]):
    """The responses to one input, until one calls no Python tool. Made by ``Conversation.run``.

    Awaiting it returns the final response; `asyncio.create_task` accepts it. Iterating gives each event of
    each response in order. Calls are executed once the event that ends their response has been read.
    Cancelling the wait for an event loses no event; cancelling ``await`` closes the run.

    A run that is garbage-collected before its end is closed, with a ``ResourceWarning``.

    Args:
        transcript: the history that the run extends.
        send: makes the stream of the next turn, under the claim of the run.
        tools: the tools of the model.
        call_tool: executes one call.
        owes: whether the history has calls without an output, other than those of async tools.
        max_turns: the number of responses above which the run fails.
        on_event: called with each event.

    Raises, from awaiting, iterating or entering:
        ConversationBusy: another turn of the conversation is running.
        MaxTurnsExceeded: the model still calls tools after ``max_turns`` responses.
        TurnError: a turn ended without a response; see `trunkline.errors`.
        ClientClosed: the client was closed.
        UsageError: another task is reading the run, or closed it while it was awaited.
    """

    def __init__(
        self,
        transcript: Transcript,
        send: Callable[[Claim], ResponseStream],
        tools: Toolbox,
        call_tool: CallTool,
        owes: Callable[[], bool],
        *,
        max_turns: int,
        on_event: EventHook | None,
    ) -> None:
        self._transcript = transcript
        self._send = send
        self._tools = tools
        self._call_tool = call_tool
        self._owes = owes
        self._max_turns = max_turns
        self._on_event = on_event
        self._state = _State.NEW
        self._reader = _Reader.NONE
        self._loop: asyncio.AbstractEventLoop
        self._claim: Claim  # this and the loop are set when it starts
        self._metrics: list[TurnMetrics] = []
        self._stream: ResponseStream | None = None
        self._calls: ToolCalls | None = None
        self._response: Response | None = None
        self._driver: Generator[Any, Any, Response] | None = None

    @property
    def response(self) -> Response:
        """The final response: status, output, usage; with ``output_text``, ``tool_calls`` and ``parsed``.

        Raises:
            UsageError: the run has not ended in a response.
        """
        if self._response is None:
            reason = (
                "it was left or failed" if self._state.is_over else "it is not at its end; await it first"
            )
            raise UsageError(f"the run has no final response: {reason}")
        return self._response

    @property
    def metrics(self) -> list[TurnMetrics]:
        """The metrics of its turns so far, one for each response, in order."""
        return [*self._metrics, *([self._stream.metrics] if self._stream is not None else [])]

    @property
    def is_ended(self) -> bool:
        """Whether the run was read to its end, failed or was closed."""
        return self._state is _State.ENDED

    def text(self) -> AsyncIterator[str]:
        """An iterator over the text deltas of all responses."""
        return TextPieces(self)

    def close(self) -> None:
        """End the run, without waiting for tools that are being cancelled. Idempotent.

        The rest of the answer is dropped as it arrives. Calls without a result are reported to the model as
        cancelled. A task that awaits the run gets a `UsageError`; a task that iterates it gets no further
        events.
        """
        self._leave()
        self._take_outputs()

    async def aclose(self) -> None:
        """End the run, and wait until its cancelled tools have ended. Idempotent.

        Cancelling ends the wait; the run is closed nevertheless.
        """
        self._leave()
        try:
            if self._calls is not None:
                await self._calls.ended()
        finally:
            self._take_outputs()

    # As an iterator and a context manager.

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise UsageError("this run was already entered or read; call run() again for another one")
        self._begin_reading()
        try:
            await self._next_stream()
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._reader = _Reader.NONE
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent:
        self._begin_reading()
        try:
            stream = await self._next_stream()
            if stream is None:
                raise StopAsyncIteration
            event = await anext(stream)
            self._take_response()  # before the hook, which may raise or be cancelled
            if self._on_event is not None:
                result = self._on_event(event)
                if result is not None and isawaitable(result):
                    await result
            self._start_calls()
            return event
        except asyncio.CancelledError:
            self._reader = _Reader.CANCELLED
            raise
        except TrunklineError:
            if self._stream is not None and self._stream.is_ended:  # not an error of the hook
                self._state = _State.ENDED
            raise
        finally:
            if self._reader is _Reader.READING:
                self._reader = _Reader.NONE

    # As a coroutine. The driver is made when the coroutine starts: dropping a coroutine that was made and
    # never started causes a warning.

    __name__ = "ConversationRun"  # for the repr of a task

    def __await__(self) -> Generator[Any, Any, Response]:
        return (yield from self._to_end().__await__())

    def send(self, value: Any, /) -> Any:
        """Resume the coroutine."""
        return self._driving().send(value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> Any:
        """Raise an exception where the coroutine waits."""
        if not isinstance(kind, BaseException):
            kind = value if isinstance(value, BaseException) else kind() if value is None else kind(value)
        if self._driver is None:
            self.close()  # cancelled before it started
        return self._driving().throw(kind if trace is None else kind.with_traceback(trace))

    def _driving(self) -> Generator[Any, Any, Response]:
        if self._driver is None:
            self._driver = self.__await__()
        return self._driver

    async def _to_end(self) -> Response:
        self._begin_reading()
        try:
            while (stream := await self._next_stream()) is not None:
                try:
                    await stream.finish(self._on_event)
                except UsageError:  # the stream has no response
                    if not self._state.is_over:  # otherwise another task closed the run
                        raise
                self._take_response()
                self._start_calls()
        except GeneratorExit:  # the event loop was closed, so nothing can be awaited
            self.close()
            raise
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._reader = _Reader.NONE
        return self.response

    # The transitions.

    def _begin_reading(self) -> None:
        if self._reader is _Reader.READING:
            raise UsageError("another task is already reading this run; read each run from one task")
        if self._state is _State.NEW:
            self._claim = self._transcript.claim(self)
            self._loop = asyncio.get_running_loop()
            self._state = _State.SENDING
        self._reader = _Reader.READING

    async def _next_stream(self) -> ResponseStream | None:
        """The stream to read from; ``None`` at the end. Executes calls and sends their outputs first."""
        while not self._state.is_over:
            if self._stream is not None:
                return self._stream
            if self._calls is not None:
                self._calls.start()
                await self._calls.executed()
                self._take_outputs()
            else:
                await self._enter()
        return None

    async def _enter(self) -> None:
        try:
            self._stream = self._send(self._claim)
            self._state = _State.STREAMING
            await self._stream.__aenter__()
        except asyncio.CancelledError:
            # The stream added its input to the history, so that the next wait sends an empty one.
            if not self._state.is_over:
                self._stream = None
                self._state = _State.SENDING
            raise
        except BaseException:
            self._state = _State.ENDED
            raise

    def _take_response(self) -> None:
        """If the stream has ended in a response: its calls come next, or the end of the run."""
        stream = self._stream
        if stream is None or not stream.has_response:
            return
        self._drop_stream(stream)
        calls = calls_to_execute(stream.response, self._tools)
        if calls:
            self._calls = ToolCalls(stream.response, calls, self._call_tool)
            self._state = _State.CALLING
        else:
            self._conclude(stream.response)

    def _start_calls(self) -> None:
        if self._state is _State.CALLING and self._calls is not None:
            self._calls.start()

    def _take_outputs(self) -> None:
        """Add the outputs of the calls to the history, and decide what follows. Does nothing without calls.

        Raises:
            MaxTurnsExceeded: no further turn is allowed.
            BaseException: the `ToolCalls.fault`.
        """
        calls, self._calls = self._calls, None
        if calls is None:
            return
        self._transcript.add_outputs(self._claim, calls.outputs())
        if self._state is _State.LEAVING:
            self._state = _State.ENDED
        elif (fault := calls.fault) is not None:
            calls.cancel()
            self._state = _State.ENDED
            raise fault
        elif self._transcript.history.open_calls and self._owes():  # the application answers the others
            calls.response.answer(calls.ids)
            self._conclude(calls.response)
        elif len(self._metrics) >= self._max_turns:
            self._state = _State.ENDED
            raise MaxTurnsExceeded(self._max_turns)
        else:
            self._state = _State.SENDING

    def _conclude(self, response: Response) -> None:
        self._response = response
        self._state = _State.ENDED

    def _leave(self) -> None:
        self._take_response()  # its end may have been read
        self._state = _State.ENDED if self._calls is None else _State.LEAVING
        if self._stream is not None:
            self._stream.close()
            self._drop_stream(self._stream)
        if self._calls is not None:
            self._calls.cancel()

    def _drop_stream(self, stream: ResponseStream) -> None:
        self._metrics.append(stream.metrics)
        self._stream = None

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # The default binds the function now: the interpreter clears modules when it exits.
        if self._state is _State.NEW or self._state is _State.ENDED or is_finalizing():
            return
        try:
            if self._reader is not _Reader.CANCELLED:
                message = f"{self!r} was dropped before its end: use async with to leave it early"
                warnings.warn(message, ResourceWarning, stacklevel=2, source=self)  # a filter may raise it
        finally:
            with contextlib.suppress(RuntimeError):  # the event loop is closed, and all its sockets are gone
                call_in(self._loop, self.close)

    def __repr__(self) -> str:
        return f"<ConversationRun: {self._state.name.lower()}>"


__all__ = ["ConversationRun"]
