"""The examples run against an emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.emulator import Emulator

from .waiting import TIME_SCALE

EXAMPLES = Path(__file__).parent.parent / "examples"
TIMEOUT_S = 30.0 * TIME_SCALE
CALLER = "Count slowly: one, two, three, four, five, six, seven, eight."


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    running = Emulator()
    with running.run_in_thread():
        yield running


def run(name: str, emulator: Emulator) -> str:
    """Run an example; return its output."""
    env = {**os.environ, "OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": emulator.api_key or ""}
    env.pop("MODEL", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_voice_agent(emulator: Emulator) -> None:
    printed = run("voice_agent.py", emulator)
    interrupted = next(line for line in printed.splitlines() if line.endswith(" --"))
    heard = interrupted.removeprefix("agent:  ").removesuffix(" --")
    assert f"You said: {CALLER}".startswith(heard)
    assert len(heard) < len(CALLER)
    last = list(emulator.responses.values())[-1]
    seen = [item["content"] for item in last.effective_context if isinstance(item["content"], str)]
    expected = [CALLER, *([heard] if heard else []), "Thank you, that is enough."]
    assert seen[-len(expected) :] == expected


def test_hello(emulator: Emulator) -> None:
    assert run("hello.py", emulator) == "You said: Hello, who is there?"


def test_tools(emulator: Emulator) -> None:
    printed = run("tools.py", emulator)
    assert printed.count("[get_weather") == 2
    assert printed.count("[find_trains") == 1
    assert printed.count("(full:") == 1
    assert printed.count("(delta:") == 3


def test_own_history(emulator: Emulator) -> None:
    printed = run("own_history.py", emulator).splitlines()
    assert len(printed) == 6
    assert all(line.endswith("(1 of 5 items sent)") for line in printed[-2:])
    assert {line.partition(":")[0] for line in printed} == {"ada", "bob"}


def test_cost(emulator: Emulator) -> None:
    printed = run("cost.py", emulator)
    page = (EXAMPLES.parent / "docs" / "cost.md").read_text()
    assert "".join(f"    {line}\n" for line in printed.splitlines()) in page


def test_recovery(emulator: Emulator) -> None:
    printed = run("recovery.py", emulator).splitlines()
    assert printed[0] == "forgotten: 2 attempts, because of parent_lost"
    assert printed[1] == "connection lost: full on connection 2"
    assert printed[2] == "refused: 400 invalid_prompt - history unchanged: True"
