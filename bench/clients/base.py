"""Interface of the clients, as the cases use it. See docs/benchmarks/add-a-client.md."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from load.order import Order, text_of

MODEL = "gpt-4.1"
API_KEY = "sk-bench"

Heard = Callable[[str], None]
JSON = dict[str, Any]


def next_order(left: int) -> str:
    """The output of a tool: an order for this number of further calls, then a text."""
    return text_of(Order(call=left)) if left else text_of(Order(deltas=1))


@cache
def tool_definition(index: int) -> JSON:
    """One of the tools as the API documents it, made once, as applications do. Must not be changed."""
    return {
        "type": "function",
        "name": f"tool_{index}",
        "description": f"Tool number {index}: counts down.",
        "parameters": {
            "type": "object",
            "properties": {"left": {"type": "integer"}},
            "required": ["left"],
            "additionalProperties": False,
        },
        "strict": True,
    }


@cache
def tool_function(index: int) -> Callable[[int], Any]:
    """The same tool as a Python function, made once, as applications do."""

    async def call(left: int) -> str:
        return next_order(left)

    call.__name__ = f"tool_{index}"
    call.__doc__ = f"Tool number {index}: counts down."
    return call


@dataclass(frozen=True)
class Seed:
    """The start of a conversation.

    Attributes:
        history: the number of messages before the first turn.
        tools: the number of tools.
        instructions: the instructions for the model.
    """

    history: int = 0
    tools: int = 0
    instructions: str = "Be brief. " * 20

    def turns(self) -> list[tuple[str, str]]:
        """Role and text of each message."""
        return [
            (("user", "assistant")[i % 2], f"Message number {i}. " + "word " * 30)
            for i in range(self.history)
        ]

    def definitions(self) -> list[JSON]:
        """The tools as the API documents them."""
        return [tool_definition(index) for index in range(self.tools)]

    def messages(self) -> list[JSON]:
        """The history as items of the API."""
        return [{"type": "message", "role": role, "content": text} for role, text in self.turns()]


@dataclass
class Told:
    """The result of one turn: the number of text deltas and responses, and the tool calls."""

    deltas: int = 0
    responses: int = 1
    calls: list[JSON] = field(default_factory=list)


class Talk(Protocol):
    """One conversation with one client.

    A class that inherits from it needs `say` and `ask` only. A case that needs another method leaves the
    client out, and the report says so.
    """

    @abstractmethod
    def say(self, text: str) -> None:
        """Add a user message for the next turn. Its cost counts as the application's."""

    @abstractmethod
    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        """One response, read delta by delta.

        Args:
            heard: called with each text delta, unchanged.
            limit: the number of deltas after which the answer is left; 0 to read to its end. The next turn
                of the conversation follows.
        """

    def renew(self) -> None:
        """Replace the history's objects by equal ones. For clients that are given the history each turn."""
        raise NotImplementedError("renew")

    async def work(self) -> Told:
        """Responses until one has no tool calls; each call is answered with `next_order`."""
        raise NotImplementedError("work")

    async def prepare(self) -> None:
        """Send a warm-up request (``generate: false``)."""
        raise NotImplementedError("prepare")

    async def close(self) -> None:
        """Release the conversation: no further turn follows."""


class Client(Protocol):
    """One library, set up once in a process.

    A class that inherits from it needs `open` and `talk` only. It is made without arguments.

    Attributes:
        speed: an estimate of the deltas it reads per second, for the size of the work. Clients below 100,000
            get 100 conversations instead of 1,000.
    """

    speed: int = 5_000

    @abstractmethod
    async def open(self, url: str) -> None:
        """Make the objects that all conversations share. The URL is that of an API: ``http://host/v1``."""

    @abstractmethod
    async def talk(self, seed: Seed) -> Talk:
        """A new conversation that begins with a history, tools and instructions."""

    async def warm(self, sockets: int) -> None:
        """Open connections."""
        raise NotImplementedError("warm")

    async def close(self) -> None:
        """Close everything."""
