"""The tool calls of one response, which run concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

from ._network.background import cancel, ended, in_background
from ._protocol.item_types import FunctionCall
from ._protocol.items import Item, function_call_output
from ._protocol.response import Response
from .tools import Toolbox

CallTool: TypeAlias = Callable[[str, str], Coroutine[Any, Any, str]]
"""Calls a tool: takes its name and its arguments as JSON, and returns the text of its output."""

_CANCELLED: Final = '{"error":"Cancelled: the user interrupted before the tool had finished"}'


class ToolCalls:
    """Calls of one response, and the tasks that execute them.

    Args:
        response: the response that made the calls.
        calls: the calls.
        call_tool: executes one call.
    """

    __slots__ = ("_call_tool", "_calls", "_tasks", "response")

    def __init__(self, response: Response, calls: Sequence[FunctionCall], call_tool: CallTool) -> None:
        self.response: Response = response
        self._calls = calls
        self._call_tool = call_tool
        self._tasks: list[asyncio.Task[str]] = []

    def start(self) -> None:
        """Start a task for each call. Does nothing if they were started."""
        if not self._tasks:
            self._tasks = [
                in_background(self._call_tool(call["name"], call["arguments"]), "trunkline tool")
                for call in self._calls
            ]

    async def executed(self) -> None:
        """Wait until all calls have ended, or one has a `fault`. Cancelling ends the wait only."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)

    async def ended(self) -> None:
        """Wait until all tasks have ended, after `cancel`."""
        await ended(self._tasks)

    def cancel(self) -> None:
        """Cancel the calls that are running. Calls in threads run on, and their results are dropped."""
        cancel(self._tasks)

    @property
    def ids(self) -> list[str]:
        """The id of each call."""
        return [call["call_id"] for call in self._calls]

    @property
    def fault(self) -> BaseException | None:
        """An exception that is not a tool's failure and has to reach the caller, such as `SystemExit`."""
        done = (task for task in self._tasks if task.done() and not task.cancelled())
        return next(filter(None, (task.exception() for task in done)), None)

    def outputs(self) -> list[Item]:
        """One output for each call. Calls without a result are reported as cancelled."""
        tasks: list[asyncio.Task[str] | None] = [*self._tasks] or [None] * len(self._calls)
        return [_output_of(call, task) for call, task in zip(self._calls, tasks, strict=True)]


def calls_to_execute(response: Response, tools: Toolbox) -> list[FunctionCall]:
    """The calls of Python functions, and of names that no tool has: the model gets an error for those.

    The application answers the other calls itself.
    """
    calls = [call for call in response.tool_calls if call["type"] == "function_call"]
    return [call for call in calls if tools.get(call["name"]) is not None or call["name"] not in tools.names]


def _output_of(call: FunctionCall, task: asyncio.Task[str] | None) -> Item:
    has_result = task is not None and task.done() and not task.cancelled() and task.exception() is None
    return function_call_output(call["call_id"], task.result() if task and has_result else _CANCELLED)


__all__ = ["CallTool", "ToolCalls", "calls_to_execute"]
