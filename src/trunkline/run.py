"""A run: responses in a row, with the calls of Python tools executed between them.

::

    response = await chat.run("What is the weather in Oslo?")

    async with chat.run("And in Bergen?") as run:
        async for event in run:
            ...
    run.response, run.metrics

A run is a coroutine, an asynchronous iterator and a context manager. It starts when it is awaited, iterated
or entered. Leaving its block early, or cancelling the task that awaits it, is barge-in.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from inspect import isawaitable
from types import TracebackType
from typing import Any, Final, Self

from ._network.background import call_in, cancel, ended, in_background
from ._observe.metrics import TurnMetrics
from ._protocol.events import ServerEvent
from ._protocol.item_types import FunctionCall
from ._protocol.items import Item, function_call_output
from ._protocol.response import Response
from .errors import MaxTurnsExceeded, TrunklineError, UsageError
from .stream import EventHook, ResponseStream, TextPieces
from .tools import Toolbox
from .transcript import Transcript

_CANCELLED: Final = '{"error":"Cancelled: the user interrupted before the tool had finished"}'


class ConversationRun(Coroutine[Any, Any, Response], AsyncIterator[ServerEvent]):
    """The responses to one input, until one calls no Python tool. Made by ``Conversation.run``.

    Awaiting it gives the final response; `asyncio.create_task` takes it as it takes any coroutine. Iterating
    gives each event of each response in order. Calls are executed when the event that ends their response has
    been taken. Cancelling a wait for an event loses nothing; cancelling ``await`` leaves the run.

    A run that is dropped before its end is left, with a ``ResourceWarning``.

    Raises, from awaiting, iterating or entering:
        ConversationBusy: a turn of the conversation is running.
        MaxTurnsExceeded: the model still calls tools after ``max_turns`` responses.
        TurnError: a turn ended without a response; see `trunkline.errors`.
    """

    def __init__(
        self,
        transcript: Transcript,
        send: Callable[[], ResponseStream],
        tools: Toolbox,
        call: Callable[[str, str], Coroutine[Any, Any, str]],
        *,
        max_turns: int,
        on_event: EventHook | None,
    ) -> None:
        self._transcript = transcript
        self._send = send
        self._tools = tools
        self._call = call
        self._max_turns = max_turns
        self._on_event = on_event
        self._metrics: list[TurnMetrics] = []
        self._turns = 0
        self._stream: ResponseStream | None = None
        self._calls: _Calls | None = None
        self._response: Response | None = None
        self._loop: asyncio.AbstractEventLoop
        self._driver: Generator[Any, Any, Response] | None = None
        self._started = False
        self._ended = False
        self._reading = False
        self._cancelled = False

    @property
    def response(self) -> Response:
        """The final response: status, output, usage; with ``output_text``, ``tool_calls`` and ``parsed``.

        Raises:
            UsageError: the run has not ended in a response.
        """
        if self._response is None:
            how = "left or failed before its end" if self._ended else "not at its end yet: await it first"
            raise UsageError(f"the run has no final response: it is {how}")
        return self._response

    @property
    def metrics(self) -> list[TurnMetrics]:
        """The figures of its turns so far, one for each response, in order."""
        return [*self._metrics, *([self._stream.metrics] if self._stream is not None else [])]

    @property
    def is_ended(self) -> bool:
        """Whether it was read to its end, failed, or was left."""
        return self._ended and self._calls is None

    def text(self) -> AsyncIterator[str]:
        """The text of all responses alone, piece by piece, as it comes."""
        return TextPieces(self)

    def close(self) -> None:
        """Leave the run, without waiting for tools that are being cancelled. May be called again.

        The rest of the answer drains unseen. Calls without a result are reported to the model as cancelled.
        A task that awaits the run gets a `UsageError`; one that iterates it, the end.
        """
        try:
            self._leave()
        finally:
            self._settle()

    async def aclose(self) -> None:
        """Leave the run, and wait until the tools that were cancelled have ended. May be called again."""
        self._leave()
        try:
            if self._calls is not None:
                await self._calls.over()
        finally:
            self._settle()

    # As an iterator and a context manager.

    async def __aenter__(self) -> Self:
        if self._started or self._ended:
            raise UsageError("this run was already entered or read; call run() again for another one")
        self._start()
        try:
            await self._current()
        except BaseException:
            await self.aclose()
            raise
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
            stream = await self._current()
            if stream is None:
                raise StopAsyncIteration
            event = await anext(stream)
            self._cancelled = False
            self._take_calls()
            if self._on_event is not None:
                result = self._on_event(event)
                if result is not None and isawaitable(result):
                    await result
            self._begin_calls()
            return event
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        except TrunklineError:
            self._ended |= self._stream is not None and self._stream.is_ended
            raise
        finally:
            self._reading = False

    # As a coroutine. Nothing is made before it starts, so that a run that is dropped leaves nothing behind.

    __name__ = "ConversationRun"  # for the repr of a task

    def __await__(self) -> Generator[Any, Any, Response]:
        return (yield from self._to_end().__await__())

    def send(self, value: Any, /) -> Any:
        """Go on, as every coroutine does."""
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
            while (stream := await self._current()) is not None:
                await self._finish(stream)
        except GeneratorExit:  # its event loop is gone: nothing can be awaited
            self.close()
            raise
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._reading = False
        return self.response

    async def _finish(self, stream: ResponseStream) -> None:
        try:
            await stream.finish(self._on_event)
        except UsageError:  # there is no response
            if not self._ended:
                raise
        self._take_calls()
        self._begin_calls()

    # Its states: between two turns, a stream that is open, calls that are executed, and the end.

    def _begin_reading(self) -> None:
        if self._reading:
            raise UsageError("another task is already reading this run; read each run from one task")
        self._start()
        self._reading = True

    def _start(self) -> None:
        if not self._started and not self._ended:
            self._transcript.claim(self)
            self._loop = asyncio.get_running_loop()
            self._started = True

    async def _current(self) -> ResponseStream | None:
        """The stream to read from; ``None`` at the end. Executes what was called, and sends the outputs."""
        while not self._ended:
            if self._calls is not None:
                self._calls.begin()
                await self._calls.executed()
                self._settle()
            elif self._stream is not None:
                return self._stream
            else:
                await self._enter()
        return None

    async def _enter(self) -> None:
        try:
            self._stream = stream = self._send()
            await stream.__aenter__()
        except asyncio.CancelledError:
            # Nothing was sent, and the input is in the history: the next wait sends it.
            self._stream = None
            raise
        except BaseException:
            self._ended = True
            raise

    def _take_calls(self) -> None:
        """Where the stream has ended in a response: its calls come next, or the run is over."""
        stream = self._stream
        if stream is None or not stream.has_response:
            return
        self._turns += 1
        self._metrics.append(stream.metrics)
        self._stream = None
        calls = [
            call
            for call in stream.response.tool_calls
            if call["type"] == "function_call" and _is_ours(call, self._tools)
        ]
        if calls:
            self._calls = _Calls(stream.response, calls, self._call)
        elif not self._ended:
            self._conclude(stream.response)

    def _begin_calls(self) -> None:
        if self._calls is not None and not self._ended:
            self._calls.begin()

    def _settle(self) -> None:
        """Put the outputs of the calls into the history. Those without a result count as cancelled."""
        if self._calls is None:
            return
        calls, self._calls = self._calls, None
        self._transcript.add_outputs(calls.outputs())
        if self._ended:
            calls.cancel()
        elif (fault := calls.fault) is not None:
            calls.cancel()
            self._ended = True
            raise fault
        elif self._transcript.history.open_calls:  # calls that the caller answers
            self._conclude(calls.response)
        elif self._turns >= self._max_turns:
            self._ended = True
            raise MaxTurnsExceeded(self._max_turns)

    def _conclude(self, response: Response) -> None:
        self._response = response
        self._ended = True

    def _leave(self) -> None:
        self._take_calls()
        self._ended = True
        if self._stream is not None:
            self._stream.close()
            self._metrics.append(self._stream.metrics)
            self._stream = None
        if self._calls is not None:
            self._calls.cancel()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Bound as a default, because the interpreter empties modules at its end.
        if not self._started or self.is_ended or is_finalizing():
            return
        try:
            if not self._cancelled:
                words = f"{self!r} was dropped before its end: use async with to leave it early"
                warnings.warn(words, ResourceWarning, stacklevel=2, source=self)  # may be made to raise
        finally:
            with contextlib.suppress(RuntimeError):  # its event loop is closed, and all on it is gone already
                call_in(self._loop, self.close)

    def __repr__(self) -> str:
        state = "ended" if self.is_ended else "open" if self._started else "new"
        return f"<ConversationRun: {state}>"


class _Calls:
    """Calls of one response, executed together."""

    def __init__(
        self,
        response: Response,
        calls: Sequence[FunctionCall],
        call: Callable[[str, str], Coroutine[Any, Any, str]],
    ) -> None:
        self.response = response
        self._calls = calls
        self._call = call
        self._tasks: list[asyncio.Task[str]] = []

    def begin(self) -> None:
        """Start them. May be called again."""
        if not self._tasks:
            self._tasks = [
                in_background(self._call(call["name"], call["arguments"]), "trunkline tool")
                for call in self._calls
            ]

    async def executed(self) -> None:
        """Wait until all have ended, or one has ended the program. Cancelling the wait cancels none."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)

    async def over(self) -> None:
        """Wait until all have ended."""
        await ended(self._tasks)

    def cancel(self) -> None:
        """Cancel those that still run."""
        cancel(self._tasks)

    @property
    def fault(self) -> BaseException | None:
        """What is no error of a tool: the exception that ends the program."""
        ended = (task for task in self._tasks if task.done() and not task.cancelled())
        return next(filter(None, (task.exception() for task in ended)), None)

    def outputs(self) -> list[Item]:
        """One output for each call."""
        results: list[asyncio.Task[str] | None] = [*self._tasks] or [None] * len(self._calls)
        return [_output_of(call, task) for call, task in zip(self._calls, results, strict=True)]


def _is_ours(call: FunctionCall, tools: Toolbox) -> bool:
    """A call of a Python function, or of a name that the model made up: that is reported to it."""
    name = call["name"]
    return tools.get(name) is not None or name not in tools.names


def _output_of(call: FunctionCall, task: asyncio.Task[str] | None) -> Item:
    has_result = task is not None and task.done() and not task.cancelled() and task.exception() is None
    return function_call_output(call["call_id"], task.result() if task and has_result else _CANCELLED)


__all__ = ["ConversationRun"]
