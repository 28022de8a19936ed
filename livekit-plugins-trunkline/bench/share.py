"""What a turn without tools takes in LiveKit itself, in trunkline, and in the two plugins.

    cd livekit-plugins-trunkline && python -m bench.share [--docs]

Instructions of the client process are counted under valgrind, because a busy machine does not change them.
The emulator has a process of its own, which is not counted. With ``--docs`` the table in ``docs/livekit.md``
is replaced. It takes three minutes on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from livekit.agents.llm import LLM, ChatChunk, ChatContext, ChoiceDelta, CompletionUsage, LLMStream
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.utils import http_context
from livekit.plugins import trunkline

from .compare import DOCS, ITEMS, ours, read, theirs
from .served import Served

TABLE = re.compile(r"(<!-- shares -->\n).*?(<!-- end of shares -->)", re.DOTALL)
MODEL, TEXT = "words-3", "the quick brown"
WARM_UP, TURNS = 5, 40
COLLECTED = re.compile(r"Collected : (\d+)")

Turn = Callable[[ChatContext], Coroutine[Any, Any, object]]


class OwnStream(LLMStream):
    """The chunks of an answer, without a request."""

    async def _run(self) -> None:
        usage = CompletionUsage(completion_tokens=3, prompt_tokens=10, total_tokens=13)
        self._event_ch.send_nowait(ChatChunk(id="resp_1", delta=ChoiceDelta(role="assistant", content=TEXT)))
        self._event_ch.send_nowait(ChatChunk(id="resp_1", usage=usage))


class Own(LLM[Any]):
    """LiveKit's classes alone: streams, metrics and spans."""

    def chat(self, *, chat_ctx: ChatContext, **options: Any) -> OwnStream:
        """The chunks of an answer."""
        return OwnStream(self, chat_ctx=chat_ctx, tools=[], conn_options=DEFAULT_API_CONNECT_OPTIONS)


def livekit(served: Served) -> Turn:
    """LiveKit alone."""
    return _reading(Own())


def library(served: Served) -> Turn:
    """trunkline without LiveKit: a keyed history, whose items are plain JSON."""
    client = trunkline.Client(base_url=served.base_url, api_key=served.api_key, lanes=True)
    held: list[Any] = []

    async def turn(chat_ctx: ChatContext) -> None:
        new = chat_ctx.items[len(held) :]
        held.extend({"role": item.role, "content": item.content[0]} for item in new if item.type == "message")
        async with client.stream(model=MODEL, input=held, key="talk") as stream:
            async for _ in stream:
                pass

    return turn


def plugin(served: Served) -> Turn:
    """This plugin."""
    return _reading(ours(served, MODEL))


def openai(served: Served) -> Turn:
    """The openai plugin."""
    return _reading(theirs(served, MODEL))


SUBJECTS = {each.__name__: each for each in (livekit, library, plugin, openai)}


def _reading(llm: Any) -> Turn:
    async def turn(chat_ctx: ChatContext) -> None:
        await read(llm, chat_ctx)

    return turn


def contexts(items: int) -> list[ChatContext]:
    """The contexts of all turns: the first one has so many items."""
    chat_ctx = ChatContext.empty()
    for index in range(items - 1):
        chat_ctx.add_message(role="assistant" if index % 2 else "user", content=f"Item {index}. " * 5)
    made = []
    for _ in range(WARM_UP + TURNS):
        chat_ctx.add_message(role="user", content="And then?")
        made.append(chat_ctx.copy())
        chat_ctx.add_message(role="assistant", content=TEXT)
    return made


async def count(subject: str, items: int) -> None:
    """Take the turns, under valgrind; only those after the warm-up are counted."""
    logging.disable(logging.ERROR)
    asked = contexts(items)
    with Served() as served:
        async with http_context.open():
            turn = SUBJECTS[subject](served)
            for chat_ctx in asked[:WARM_UP]:
                await turn(chat_ctx)
            gc.collect()
            gc.disable()
            _instrument("on")
            for chat_ctx in asked[WARM_UP:]:
                await turn(chat_ctx)
            _instrument("off")
    os._exit(0)  # connections are left open


def _instrument(state: str) -> None:
    command = ["callgrind_control", "-i", state, str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def instructions(subject: str, items: int) -> int:
    """Thousands of instructions per turn."""
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, "-m", "bench.share", "--subject", subject, "--items", str(items)]
    environ = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    found = COLLECTED.search(done.stderr)
    if found is None or done.returncode:
        sys.exit(f"valgrind did not count {subject}:\n{done.stderr[-2000:]}")
    return round(int(found[1]) / TURNS / 1000)


def row(items: int) -> str:
    """One line of the table."""
    own, library_alone, mine, others = (instructions(subject, items) for subject in SUBJECTS)
    counts = " | ".join(f"{each:,}" for each in (own, library_alone, mine, others))
    return f"| {items:,} | {counts} | {mine / others:.2f} | {(mine - own) / (others - own):.2f} |\n"


def table() -> str:
    """As Markdown."""
    names = "items", "LiveKit alone", "trunkline alone", "this plugin", "openai plugin", "ratio"
    head = f"| {' | '.join(names)} | ratio without LiveKit |\n| ---: {'| ---: ' * 6}|\n"
    return head + "".join(map(row, ITEMS))


def main() -> None:
    """Count, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--docs", action="store_true", help="replace the table in docs/livekit.md")
    parser.add_argument("--subject", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--items", type=int, default=20, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.subject:
        return asyncio.run(count(given.subject, given.items))
    text = table()
    print(text, end="")
    if given.docs:
        DOCS.write_text(TABLE.sub(lambda found: f"{found[1]}{text}{found[2]}", DOCS.read_text()))
    return None


if __name__ == "__main__":
    main()
