"""A conversation: its history, its turns, and the tools that answer the model.

One turn at a time. The history is changed only when a turn ends: one that is answered adds its input and its
output, one that fails before any output leaves everything as it was, and one that is left early keeps its
input and the text that was received.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any, Protocol

from .deadlines import Deadlines
from .errors import ConversationBusy, MaxTurnsExceeded, UsageError
from .events import ServerEvent
from .history import History
from .items import Item, ItemInput, TurnInput, assistant_message, function_call_output, items_of
from .placement import Owner
from .plain_json import JSON
from .request import ENCRYPTED_REASONING, Fields, check_calls
from .response import Response
from .stream import Ending, Outcome, ResponseStream
from .tools import OnToolError, Tool, Toolbox, ToolThreads
from .turn import Turn

DEFAULT_MAX_TURNS = 10
DEFAULT_TOOL_TIMEOUT_S = 30.0

_CANCELLED = '{"error":"Cancelled: the user interrupted before the tool had finished"}'

EventHook = Callable[[ServerEvent], Awaitable[None] | None]


class Asks(Protocol):
    """What makes a turn of a question: the client."""

    def __call__(
        self,
        fields: Fields,
        asked: History,
        owner: Owner | None,
        *,
        generate: bool = True,
        deadlines: Deadlines | None = None,
    ) -> Turn:
        """A turn that has not started."""


class Conversation:
    """A history and its turns. Made by ``Client.conversation``."""

    def __init__(
        self, ask: Asks, fields: Fields, tools: Toolbox, history: History, owner: Owner | None = None
    ) -> None:
        self._ask = ask
        self._fields = fields.including(ENCRYPTED_REASONING) if fields.store is False else fields
        self._tools = tools
        self._history = history
        self._owner = owner or Owner()
        self._threads = ToolThreads()
        self._running: weakref.ref[ResponseStream] | None = None
        self._last: _LastAnswer | None = None

    @property
    def items(self) -> list[JSON]:
        """The history as plain JSON: a copy, to keep and to restore with ``client.conversation(items=…)``."""
        return self._history.json()

    def send(
        self,
        input: TurnInput,  # noqa: A002 - the name of the Responses API
        *,
        deadlines: Deadlines | None = None,
        **fields: Any,
    ) -> ResponseStream:
        """One turn: the history so far and this input.

        Args:
            input: a string (a user message), an item, or a list of items, tool outputs among them.
            deadlines: how long this turn waits, instead of the client's.
            fields: fields of the Responses API, for this turn instead of the conversation's.

        Raises:
            ConfigurationError: something given is wrong; nothing was sent.
            ConversationBusy: a turn of this conversation still runs.
        """
        return self._begin(items_of(input), fields, deadlines)

    async def run(
        self,
        input: TurnInput,  # noqa: A002 - the name of the Responses API
        *,
        max_turns: int = DEFAULT_MAX_TURNS,
        tool_timeout_s: float = DEFAULT_TOOL_TIMEOUT_S,
        on_tool_error: OnToolError | None = None,
        on_event: EventHook | None = None,
        deadlines: Deadlines | None = None,
        **fields: Any,
    ) -> Response:
        """Send, execute the Python tools that the model calls, and send their outputs, until it is done.

        The calls of one response run together. A tool that raises, takes too long or gets arguments that do
        not fit is reported to the model as an error; its traceback goes to the logger ``trunkline.tools``.
        Calls of tools that are no Python functions end the
        loop: answer them with the next ``send``.

        Cancelling is barge-in: the answer is left, and calls that had begun are cancelled and reported so.

        Args:
            input: as for `send`.
            max_turns: how many responses there may be.
            tool_timeout_s: how long one call may take, in seconds, unless the tool has a time of its own.
            on_tool_error: returns what the model gets when a call fails, unless the tool has an ``on_error``
                of its own; by default the model gets the type of the exception and not its message.
            on_event: called with every event; awaited if it returns an awaitable.
            deadlines: as for `send`, for each turn.
            fields: as for `send`, for each turn.

        Raises:
            MaxTurnsExceeded: the model still calls tools after ``max_turns`` responses.
            TurnError: a turn ended without a response.
        """
        items, tools = items_of(input), self._tools_with(fields)
        for _ in range(max_turns):
            async with self._begin(items, fields, deadlines) as stream:
                async for event in stream:
                    pending = on_event(event) if on_event is not None else None
                    if isawaitable(pending):
                        await pending
            if not await self._execute(stream.response.tool_calls, tools, tool_timeout_s, on_tool_error):
                return stream.response
            items = []
        raise MaxTurnsExceeded(max_turns)

    async def warm(self, *, deadlines: Deadlines | None = None) -> Response:
        """Let the service prepare instructions, tools and history (``generate: false``), without an answer.

        The service bills these input tokens as any others.
        """
        turn = self._turn(self._history, self._fields, deadlines, generate=False)
        stream = self._claim(ResponseStream(turn))
        async with stream:
            return await stream.finish()

    def fork(self) -> Conversation:
        """A conversation that goes on from here by itself; both may run at the same time."""
        owner = Owner(self._owner.baselines.copy())
        return Conversation(self._ask, self._fields, self._tools, self._history, owner)

    def replace(self, items: Sequence[ItemInput]) -> None:
        """Put these items in place of the history.

        What still equals the beginning of what the service remembers is not sent again.

        Raises:
            ConfigurationError: something given is no item.
            ConversationBusy: a turn of this conversation still runs.
        """
        self._check_idle()
        self._history = self._history.following(items, "items")
        self._last = None

    def _begin(
        self, items: Sequence[Item], fields: dict[str, Any], deadlines: Deadlines | None
    ) -> ResponseStream:
        self._check_idle()
        asked = self._history.extended(items)
        turn = self._turn(asked, self._fields_with(fields), deadlines)
        stream = ResponseStream(turn, self._ended, self._heard)
        return self._claim(stream)

    def _turn(
        self, asked: History, fields: Fields, deadlines: Deadlines | None, *, generate: bool = True
    ) -> Turn:
        self._check_idle()
        check_calls(asked, fields)
        return self._ask(fields, asked, self._owner, generate=generate, deadlines=deadlines)

    def _tools_with(self, overrides: dict[str, Any]) -> Toolbox:
        return self._tools if overrides.get("tools") is None else Toolbox.of(overrides["tools"])

    def _fields_with(self, overrides: dict[str, Any]) -> Fields:
        if overrides.get("tools") is not None:
            overrides = {**overrides, "tools": Toolbox.of(overrides["tools"]).definitions}
        fields = self._fields.overridden(overrides)
        return fields.including(ENCRYPTED_REASONING) if fields.store is False else fields

    def _claim(self, stream: ResponseStream) -> ResponseStream:
        self._running = weakref.ref(stream)
        self._last = None
        return stream

    def _check_idle(self) -> None:
        running = self._running() if self._running is not None else None
        if running is not None and not running.is_ended:
            raise ConversationBusy(
                "a turn of this conversation still runs: leave its stream first, or fork() to ask in parallel"
            )

    def _ended(self, ending: Ending) -> None:
        if ending.outcome is Outcome.FAILED and not ending.output_seen:
            return
        if (answer := ending.answer) is not None:
            asked = answer.asked
            output = [item for item in answer.output if item.is_resendable and not _is_unfinished(item)]
            output += answer.waiting
        else:
            asked = ending.asked
            output = [assistant_message(ending.text)] if ending.text else []
            output += ending.said
        self._history = asked.extended(output)
        self._last = _LastAnswer(self._running, asked, output)

    def _heard(self, stream: ResponseStream, text: str) -> None:
        last = self._last
        if last is None or last.stream is None or last.stream() is not stream:
            raise UsageError("the conversation has gone on since this answer: heard() comes too late")
        self._history = last.asked.extended(last.as_heard(text))

    async def _execute(
        self, calls: Sequence[JSON], tools: Toolbox, timeout_s: float, on_error: OnToolError | None
    ) -> bool:
        """Run the calls that are ours and put their outputs into the history. Whether the model is next."""
        ours = [call for call in calls if _is_ours(call, tools)]
        tasks = [asyncio.create_task(self._answer(call, tools, timeout_s, on_error)) for call in ours]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            outputs = [_output_of(call, task) for call, task in zip(ours, tasks, strict=True)]
            self._history = self._history.extended(outputs)
        return bool(ours) and not self._history.open_calls

    async def _answer(
        self, call: JSON, tools: Toolbox, timeout_s: float, on_error: OnToolError | None
    ) -> str:
        name, arguments = call.get("name") or "", call.get("arguments") or ""
        return await tools.call(
            name, arguments, timeout_s=timeout_s, on_error=on_error, threads=self._threads
        )

    def __repr__(self) -> str:
        return f"<Conversation {self._fields.model}: {len(self._history)} items>"


class _LastAnswer:
    """The end of the last turn, as long as `heard` may still change it."""

    def __init__(
        self, stream: weakref.ref[ResponseStream] | None, asked: History, output: Sequence[Item]
    ) -> None:
        self.stream = stream
        self.asked = asked
        self.output = output

    def as_heard(self, text: str) -> list[Item]:
        """The output with its text replaced by what was heard.

        Reasoning belongs to what was said; it stays only where calls, which were made, came of it.
        """
        has_calls = any(item.is_call for item in self.output)
        said = [assistant_message(text)] if text else []
        kept: list[Item] = []
        for item in self.output:
            if item.joinable_text is not None:
                kept += said
                said = []
            elif has_calls or not item.is_server_only:
                kept.append(item)
        return kept + said


def _is_ours(call: JSON, tools: Toolbox) -> bool:
    """A call of a Python function, or of a name that the model made up: that is reported to it."""
    if call.get("type") != "function_call":
        return False
    name = call.get("name") or ""
    return tools.get(name) is not None or name not in tools.names


def _output_of(call: JSON, task: asyncio.Task[str]) -> Item:
    finished = task.done() and not task.cancelled() and task.exception() is None
    return function_call_output(call["call_id"], task.result() if finished else _CANCELLED)


def _is_unfinished(item: Item) -> bool:
    """A call that was cut off is no call."""
    return item.is_call and item.json().get("status") == "incomplete"


__all__ = ["Conversation", "Tool"]
