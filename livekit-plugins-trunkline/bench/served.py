"""An emulator in a process of its own, so that the CPU time of this one is the client's."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace


class Served:
    """A running emulator, as a context manager; ``ask`` runs one of the functions below over there."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)

    def ask(self, name: str, *args: Any) -> Any:
        """What the function of this name returns."""
        self._pipe.send((name, args))
        return self._pipe.recv()

    def __enter__(self) -> Self:
        self._process.start()
        self.base_url, self.api_key = self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.send(("", ()))
        self._process.join(10)


def _serve(pipe: Connection) -> None:
    asyncio.run(_run(pipe))


async def _run(pipe: Connection) -> None:
    async with Emulator() as emulator:
        pipe.send((emulator.base_url, emulator.api_key))
        while True:
            name, args = await asyncio.to_thread(pipe.recv)
            if not name:
                return
            told = _COMMANDS[name](emulator, *args)
            pipe.send(await told if asyncio.iscoroutine(told) else told)


def sizes(emulator: Emulator) -> list[int]:
    """How many bytes each request had."""
    return [request.size_bytes for request in emulator.requests]


def sockets(emulator: Emulator) -> int:
    """How many sockets are open."""
    return len(emulator.live_connections)


def contexts(emulator: Emulator) -> list[tuple[str, list[dict[str, Any]]]]:
    """The status of each response, and what the model saw when it made it."""
    return [(made.status, made.effective_context) for made in emulator.responses.values()]


def pace(emulator: Emulator, first_token_s: float, tokens_per_second: float | None) -> None:
    """How fast the model speaks."""
    emulator.pace = Pace(first_token_s, tokens_per_second)


def fault(emulator: Emulator, action: str, when: dict[str, Any]) -> None:
    """What is to go wrong next."""
    emulator.faults.add(action, **when)


async def drop(emulator: Emulator) -> None:
    """Every socket dies."""
    await emulator.drop_connections()


def lose_parent(emulator: Emulator) -> None:
    """The latest response is known no more."""
    emulator.delete(list(emulator.responses)[-1])


_COMMANDS: dict[str, Any] = {
    function.__name__: function for function in (sizes, sockets, contexts, pace, fault, drop, lose_parent)
}
