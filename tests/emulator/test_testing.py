"""Test helpers: threads, the pytest plugin, frame records and context assertions."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from trunkline.emulator import Emulator, assert_context

from .wire import wired


def post(emulator: Any, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{emulator.base_url}/responses",
        json.dumps({"model": "echo"} | body).encode(),
        {"Authorization": f"Bearer {emulator.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_it_runs_in_a_thread_for_synchronous_code() -> None:
    with Emulator().run_in_thread() as emulator:
        response = post(emulator, input="hello")
        assert emulator.responses[response["id"]].status == "completed"
        emulator.forget()
        emulator.delete(response["id"])
        emulator.drop_connections()
        emulator.faults.add("reject", status=503)
        with pytest.raises(urllib.error.HTTPError):
            post(emulator, input="hello")
    assert not [thread for thread in threading.enumerate() if thread.name == "trunkline emulator"]


async def test_frames_are_recorded_when_asked_for() -> None:
    async with Emulator(frames=4) as emulator, wired(emulator) as wire, wire.socket() as socket:
        await socket.response(input="hello")
        assert len(emulator.frames) == 4
        assert emulator.frames[-1].sent
        assert emulator.frames[-1].body["type"] == "response.completed"
        await socket.create(input=7)
        await socket.receive()
        received, sent = emulator.frames[-2:]
        assert (received.sent, received.body["input"]) == (False, 7)
        assert sent.body["type"] == "error"


async def test_no_frames_are_kept_otherwise() -> None:
    async with Emulator() as emulator, wired(emulator) as wire, wire.socket() as socket:
        await socket.response(input="hello")
        assert emulator.frames == []


def test_contexts_are_compared_by_meaning() -> None:
    seen: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "ho", "annotations": [], "logprobs": []}],
        },
    ]
    mine: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert_context(seen, mine)
    with pytest.raises(AssertionError, match="reasoning"):
        assert_context(seen, mine, reasoning=True)
    with pytest.raises(AssertionError, match=r'-.*"text": "other"'):
        assert_context(seen, [{"role": "user", "content": "other"}, mine[1]])
    for wrong in (mine[:1], mine[::-1], [*mine, mine[0]]):
        with pytest.raises(AssertionError):
            assert_context(seen, wrong)


PLUGIN_TEST = """
import json, os, sys, urllib.request
import pytest

def test_without_it():
    assert "aiohttp" not in sys.modules

@pytest.mark.trunkline_emulator(zdr=True, api_key="sk-mine")
def test_it(trunkline_environment):
    emulator = trunkline_environment
    url = os.environ["OPENAI_BASE_URL"] + "/responses"
    headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    body = json.dumps({"model": "echo", "input": "hello"}).encode()
    answer = json.load(urllib.request.urlopen(urllib.request.Request(url, body, headers)))
    assert answer["store"] is False
    assert emulator.effective_context(answer["id"])[0]["content"][0]["text"] == "hello"
    assert emulator.api_key == "sk-mine"
"""


def test_the_pytest_plugin_gives_a_running_emulator(tmp_path: Path) -> None:
    (tmp_path / "test_plugin.py").write_text(PLUGIN_TEST)
    # The plugin is loaded from the installed package's entry point.
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--strict-markers", "-q"]
    command = [sys.executable, "-m", "pytest", *options, "test_plugin.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout


UNMET_TEST = """
import json
import urllib.request


def ask(emulator, text):
    headers = {"Authorization": "Bearer " + emulator.api_key}
    body = json.dumps({"model": "echo", "input": text}).encode()
    request = urllib.request.Request(emulator.base_url + "/responses", body, headers)
    with urllib.request.urlopen(request) as answer:
        json.load(answer)


def test_met(trunkline_emulator):
    trunkline_emulator.expect("a").says("x")
    trunkline_emulator.expect("b", times=None).says("x")
    trunkline_emulator.expect("c").says("x").withdraw()
    for text in "abb":
        ask(trunkline_emulator, text)


def test_unmet(trunkline_emulator):
    trunkline_emulator.expect("once").says("x")
    trunkline_emulator.expect("twice", times=2).says("x")
    trunkline_emulator.expect("any", times=None).says("x")
    ask(trunkline_emulator, "twice")


def test_failed(trunkline_emulator):
    trunkline_emulator.expect("never").says("x")
    raise ValueError
"""


def test_an_expectation_that_is_not_met_fails_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_unmet.py").write_text(UNMET_TEST)
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-q"]
    command = [sys.executable, "-m", "pytest", *options, "test_unmet.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "1 failed, 2 passed, 1 error" in run.stdout
    assert "ERROR test_unmet.py::test_unmet - AssertionError: expectations" in run.stdout
    problems = (
        "<Expectation input contains 'once', 1 times> was used 0 times;"
        " <Expectation input contains 'twice', 2 times> was used 1 times;"
        " <Expectation input contains 'any', at least once> was used 0 times"
    )
    assert f"expectations of the emulator were not met: {problems}" in run.stdout
