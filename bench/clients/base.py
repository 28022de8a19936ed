"""What every client can do, in the words of the cases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from load.order import Order, text_of

MODEL = "gpt-4.1"
API_KEY = "sk-bench"

Heard = Callable[[str], None]
JSON = dict[str, Any]


def next_order(left: int) -> str:
    """What a tool answers: so many more calls, then a text."""
    return text_of(Order(call=left)) if left else text_of(Order(deltas=1))


@cache
def tool_definition(index: int) -> JSON:
    """One of the tools, as the API documents them; made once, as applications do. Not to be changed."""
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
    """The same tool as a Python function; made once, as applications do."""

    async def call(left: int) -> str:
        return next_order(left)

    call.__name__ = f"tool_{index}"
    call.__doc__ = f"Tool number {index}: counts down."
    return call


@dataclass(frozen=True)
class Seed:
    """How a conversation begins.

    Attributes:
        history: how many messages there are before the first turn.
        tools: how many tools it has.
        instructions: what the model is told.
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
    """What one turn brought: pieces of text, and responses it took."""

    deltas: int = 0
    responses: int = 1
    calls: list[JSON] = field(default_factory=list)


class Talk(ABC):
    """One conversation with one client."""

    @abstractmethod
    def say(self, text: str) -> None:
        """A user's message, for the next turn. Its cost is the application's."""

    def renew(self) -> None:  # noqa: B027 - not everyone has objects to renew
        """Make the history's objects anew, equal in content. Its cost is the application's."""

    @abstractmethod
    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        """One response, heard piece by piece, to its end or until so many pieces; the rest is left."""

    async def work(self) -> Told:
        """As many responses as it takes until there are no more tool calls."""
        return await self.ask()

    async def prepare(self) -> None:
        """``generate: false``."""
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Nothing more is asked."""


class Client(ABC):
    """One library, set up once in a process.

    Attributes:
        speed: about how many deltas it takes in a second, to size the work.
    """

    speed = 5_000

    @abstractmethod
    async def open(self, url: str) -> None:
        """Make what all conversations share. The URL is that of an API, such as ``http://host/v1``."""

    @abstractmethod
    async def talk(self, seed: Seed) -> Talk:
        """A new conversation."""

    async def warm(self, sockets: int) -> None:
        """Have connections ready."""
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027
        """Close everything."""
