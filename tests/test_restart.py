"""A server that is killed and restarted in the middle of a hundred conversations."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import trunkline
from trunkline import ConnectionLost, Policy, TrunklineError
from trunkline.events import OutputTextDelta

from .cli.command import TRUNKLINE, environment
from .waiting import TIME_SCALE, soon, until

LENGTH = 150
# Two names of one model, so that faults can select one of them.
SPOKEN, SILENT = f"words-{LENGTH}-spoken", f"words-{LENGTH}-silent"
TALE = "the quick brown fox jumps over a lazy dog while seven small birds sing near an old stone bridge"
ANSWER = " ".join([TALE] * 10).split(" ", LENGTH)[:LENGTH]
# The first server completes no turn.
STALLS = [
    {"action": "stall", "model": SPOKEN, "event": 30, "times": None},
    {"action": "stall", "model": SILENT, "event": 3, "times": None},
]


class Served:
    """The emulator in its own process, on the same port after a restart."""

    def __init__(self) -> None:
        self.port = 0
        self.process: Process

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self, *options: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            TRUNKLINE, "emulate", "--port", str(self.port), *options, stdout=PIPE, env=environment()
        )
        assert self.process.stdout is not None
        line = await soon(self.process.stdout.readline(), within_s=30)
        found = re.search(rb"127\.0\.0\.1:(\d+)", line)
        assert found is not None, line
        self.port = int(found[1])
        self._reading = asyncio.create_task(self.process.stdout.read())

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture
async def served(watched: None, tmp_path: Path) -> AsyncIterator[Served]:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps(STALLS))
    process = Served()
    await process.start("--faults", str(faults))
    yield process
    await process.kill()


@dataclass
class Turn:
    """One turn and its outcome."""

    chat: trunkline.Conversation
    stream: trunkline.ResponseStream
    received: str = ""
    error: TrunklineError | None = None
    ended_at: float = 0.0

    @property
    def has_started(self) -> bool:
        return self.stream.metrics.response_id is not None

    async def take(self) -> Turn:
        try:
            async with self.stream as stream:
                async for event in stream:
                    if isinstance(event, OutputTextDelta):
                        self.received += event.delta
        except TrunklineError as error:
            self.error = error
        self.ended_at = asyncio.get_running_loop().time()
        return self


def check(turn: Turn, killed_at: float) -> None:
    """Assert that the turn was answered in full, or had output and raised soon after the kill."""
    if turn.error is None:
        assert turn.received == turn.stream.response.output_text == " ".join(ANSWER)
        assert [item["role"] for item in turn.chat.items] == ["user", "assistant"]
        return
    assert isinstance(turn.error, ConnectionLost), repr(turn.error)
    assert turn.error.output_seen
    assert " ".join(ANSWER).startswith(turn.received)
    assert turn.ended_at - killed_at < 5 * TIME_SCALE
    said = [item["content"] for item in turn.chat.items]
    assert said == ["hello", turn.received] if turn.received else ["hello"]


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_turns_without_output_are_replayed_and_the_others_raise(served: Served, transport: str) -> None:
    policy = Policy(max_attempts=100, backoff_s=0.1, max_backoff_s=0.3)
    async with trunkline.Client(
        base_url=served.base_url,
        api_key="sk-emulator",
        lanes=True,
        policy=policy,
        transport=transport,  # type: ignore[arg-type]
    ) as client:
        chats = [client.conversation(model=model) for model in (SPOKEN, SILENT) for _ in range(50)]
        turns = [Turn(chat, chat.send("hello")) for chat in chats]
        talking, waiting = turns[:50], turns[50:]
        taking = [asyncio.create_task(turn.take()) for turn in talking]
        await until(lambda: all(turn.received for turn in talking), "half of the turns have text")
        taking += [asyncio.create_task(turn.take()) for turn in waiting]
        await until(lambda: all(turn.has_started for turn in waiting), "the other responses have started")
        await served.kill()
        killed_at = asyncio.get_running_loop().time()
        await until(lambda: all(turn.error for turn in talking), "the turns with text have raised")
        await served.start()
        await soon(asyncio.gather(*taking), within_s=30)
        for turn in turns:
            check(turn, killed_at)
        assert {type(turn.error) for turn in talking} == {ConnectionLost}
        assert {turn.error for turn in waiting} == {None}
        assert all(turn.stream.metrics.recoveries for turn in waiting)
        again = [Turn(turn.chat, turn.chat.send("and now?", max_output_tokens=1)) for turn in turns]
        await soon(asyncio.gather(*(turn.take() for turn in again)), within_s=30)
        assert [turn.received for turn in again if turn.error is None] == ["the"] * 100
