"""The plugin beside ``livekit-plugins-openai``: the same scripts, on the same emulator, in one run.

    cd livekit-plugins-trunkline && python -m bench.compare [--docs]

CPU time is that of the client process; the emulator has a process of its own. With ``--docs`` the table in
``docs/livekit.md`` is replaced. It takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.llm import ChatContext
from livekit.agents.utils import http_context
from livekit.plugins import openai, trunkline

from .hits import HITS, toll_of
from .served import Served

DOCS = Path(__file__).parents[2] / "docs" / "livekit.md"
TABLE = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)
ITEMS = (20, 200, 2000)
DELTAS = 3000
STREAMS, PACE, PACED_DELTAS = 40, 25, 100
TURNS = 60
SESSIONS = 100
TOOLS = 5

Row = tuple[str, str, str, str]


def ours(served: Served, model: str) -> trunkline.LLM:
    """Ours. The emulator has lanes as OpenAI does, which no client takes of an unknown host."""
    client = trunkline.Client(base_url=served.base_url, api_key=served.api_key, lanes=True)
    return trunkline.LLM(model=model, client=client)


def theirs(served: Served, model: str) -> openai.responses.LLM:
    """The openai plugin, over WebSocket as well."""
    return openai.responses.LLM(model=model, base_url=f"{served.base_url}/responses", api_key=served.api_key)


SUBJECTS: tuple[Callable[[Served, str], Any], ...] = (ours, theirs)


@asynccontextmanager
async def made(make: Callable[[Served, str], Any], served: Served, model: str) -> AsyncIterator[Any]:
    """An LLM, until it is not needed any more."""
    llm = make(served, model)
    try:
        yield llm
    finally:
        await llm.aclose()
        if isinstance(llm, trunkline.LLM):
            await llm.client.close()


async def read(llm: Any, chat_ctx: ChatContext, tools: list[Any] | None = None) -> tuple[str, int]:
    """One request: its text, and in how many chunks it came."""
    said = []
    async with llm.chat(chat_ctx=chat_ctx, tools=tools or []) as stream:
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                said.append(chunk.delta.content)
    return "".join(said), len(said)


async def cpu_per_delta(make: Callable[[Served, str], Any], served: Served) -> float:
    """Microseconds of CPU per text delta of a stream that comes as fast as it can."""
    async with made(make, served, f"words-{DELTAS}") as llm:
        spent = []
        for _ in range(5):
            with cpu_time() as took:
                await read(llm, hello())
            spent.append(took[0] / DELTAS * 1e6)
        return min(spent)


async def cpu_per_paced_delta(make: Callable[[Served, str], Any], served: Served) -> float:
    """The same for many streams at the pace of speech, where each delta comes alone."""
    served.ask("pace", 0, PACE)
    async with made(make, served, f"words-{PACED_DELTAS}") as llm:
        await read(llm, hello())
        with cpu_time() as took:
            await asyncio.gather(*(read(llm, hello()) for _ in range(STREAMS)))
    served.ask("pace", 0, None)
    return took[0] / (STREAMS * PACED_DELTAS) * 1e6


def hello() -> ChatContext:
    """A context to begin with."""
    chat_ctx = ChatContext.empty()
    chat_ctx.add_message(role="user", content="Hello")
    return chat_ctx


@contextmanager
def cpu_time() -> Iterator[list[float]]:
    """The CPU time of a block in seconds, without garbage collection, which strikes either at random."""
    gc.collect()
    gc.disable()
    took = [0.0]
    began = time.process_time()
    try:
        yield took
    finally:
        took[0] = time.process_time() - began
        gc.enable()


def tools_of(number: int) -> list[Any]:
    """Function tools with two arguments each."""

    def tool(index: int) -> Any:
        async def look_up(city: str, days: int = 1) -> str:
            """Look something up.

            Args:
                city: where.
                days: for how many days.
            """
            return city

        return function_tool(look_up, name=f"look_up_{index}")

    return [tool(index) for index in range(number)]


class Turns:
    """Turns of one context that had so many items to begin with."""

    def __init__(self, llm: Any, items: int, tools: list[Any]) -> None:
        self._llm = llm
        self._tools = tools
        self._chat_ctx = ChatContext.empty()
        for index in range(items - 1):
            role: Any = "assistant" if index % 2 else "user"
            self._chat_ctx.add_message(role=role, content=f"Item {index}. " * 5)

    async def turn(self) -> float:
        """Milliseconds of CPU for one more."""
        self._chat_ctx.add_message(role="user", content="And then?")
        asked = self._chat_ctx.copy()
        began = time.process_time()
        text, _ = await read(self._llm, asked, self._tools)
        took = time.process_time() - began
        self._chat_ctx.add_message(role="assistant", content=text)
        return took * 1e3


async def per_turn(served: Served, items: int, tools: list[Any]) -> tuple[list[float], list[float]]:
    """Milliseconds of CPU, and bytes sent, per turn: of each in turns, so that both have the same weather."""
    async with AsyncExitStack() as stack:
        llms = [await stack.enter_async_context(made(make, served, "words-3")) for make in SUBJECTS]
        talks = [Turns(llm, items, tools) for llm in llms]
        for talk in talks:
            await talk.turn()
        sent = len(served.ask("sizes"))
        with cpu_time():
            spent = [[await talk.turn() for talk in talks] for _ in range(TURNS)]
        sizes = served.ask("sizes")[sent:]
    cpu = [median(column) for column in zip(*spent, strict=True)]
    return cpu, [sum(sizes[index::2]) / TURNS for index in range(2)]


async def sockets_of_sessions(make: Callable[[Served, str], Any], served: Served) -> int:
    """How many sockets sessions take that all speak at the same time."""
    served.ask("pace", 3.0, None)
    async with made(make, served, "words-3") as llm, AsyncExitStack() as stack:
        sessions = []
        for _ in range(SESSIONS):
            session = await stack.enter_async_context(AgentSession[Any](llm=llm))
            await session.start(Agent(instructions="Be brief."), record=False)
            sessions.append(session)
        calls = asyncio.gather(*(session.generate_reply(user_input="Hello") for session in sessions))
        most = 0
        while not calls.done():
            await asyncio.sleep(0.1)
            most = max(most, served.ask("sockets"))
        await calls
    served.ask("pace", 0, None)
    return most


def row(what: str, found: list[float], unit: str) -> Row:
    """One line with the ratio."""
    mine, others = (f"{value:,.{0 if value >= 100 else 2}f} {unit}" for value in found)
    return what, mine, others, f"{found[0] / found[1]:.2f}"


async def turns(served: Served, items: int, tools: list[Any]) -> list[Row]:
    """The lines of one length of context."""
    cpu, size = await per_turn(served, items, tools)
    of_what = f"per turn, {items:,} items, {len(tools) or 'no'} tools"
    return [row(f"CPU {of_what}", cpu, "ms"), row(f"bytes {of_what}", size, "B")]


async def tolls(served: Served, hit: str) -> Row:
    """The line of one hit."""
    found = []
    for make in SUBJECTS:
        async with made(make, served, "echo") as llm:
            toll = await toll_of(hit, llm, served)
        found.append(f"{toll.unanswered} / {toll.repeated} / {toll.wrong}")
    return f"hit by {hit}: turns unanswered / words repeated / wrong contexts", found[0], found[1], ""


async def measure(served: Served) -> list[Row]:
    """The whole table."""
    fast = [await cpu_per_delta(make, served) for make in SUBJECTS]
    paced = [await cpu_per_paced_delta(make, served) for make in SUBJECTS]
    rows = [
        row("CPU per text delta, as fast as they come", fast, "µs"),
        row(f"CPU per text delta, {STREAMS} streams at {PACE} a second", paced, "µs"),
    ]
    for tools in (0, TOOLS):
        for items in ITEMS:
            rows += await turns(served, items, tools_of(tools))
    sockets = [str(await sockets_of_sessions(make, served)) for make in SUBJECTS]
    rows.append((f"sockets for {SESSIONS} sessions that speak at once", sockets[0], sockets[1], ""))
    return rows + [await tolls(served, hit) for hit in HITS]


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [("what", "trunkline", "openai plugin", "ratio"), ("---", "---:", "---:", "---:"), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


async def main() -> None:
    """Measure, print, and keep."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--docs", action="store_true", help="replace the table in docs/livekit.md")
    given = arguments.parse_args()
    logging.disable(logging.ERROR)
    with Served() as served:
        async with http_context.open():
            text = table(await measure(served))
    print(text, end="")
    if given.docs:
        DOCS.write_text(TABLE.sub(lambda found: f"{found[1]}{text}{found[2]}", DOCS.read_text()))


if __name__ == "__main__":
    asyncio.run(main())
