"""examples/ray_evals.py on Ray, whose processes talk to the emulator of this one: `make test-ray`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.emulator import Emulator, Fail, Prompt, RequestRecord, Say, Step, assert_context

from ..waiting import TIME_SCALE

PROGRAM = Path(__file__).parents[2] / "examples" / "ray_evals.py"
TIMEOUT_S = 240 * TIME_SCALE
ROWS = 400
BAD = frozenset(range(0, ROWS, 50))
"""The numbers of the rows whose second turn fails at first."""
ACTORS = 2
Row = dict[str, Any]


class Service:
    """An emulator with a model that repeats what it hears, and fails for bad rows until it is mended."""

    def __init__(self) -> None:
        self.emulator = Emulator(history=10**6)
        self.emulator.add_model("quiz", self._answer)
        self.is_mended = False

    def _answer(self, prompt: Prompt) -> list[Step]:
        text = prompt.user_text
        number = int(text.rpartition(" ")[2])
        if text.startswith("repeat") and number in BAD and not self.is_mended:
            return [Fail("invalid_prompt", "the prompt is refused")]
        return [Say([text])]

    def asked(self) -> Counter[str]:
        """The last texts of all requests."""
        return Counter(text_of(request) for request in self.emulator.requests)


def text_of(request: RequestRecord) -> str:
    *_, last = (request.body or {})["input"]
    content = last["content"]
    return content if isinstance(content, str) else str(content[-1]["text"])


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    with found.emulator.run_in_thread():
        yield found


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {"id": f"row {number}", "turns": turns_of(number), "expected": f"repeat {number}"}
        for number in range(ROWS)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def turns_of(number: int) -> list[str]:
    return [f"remember {number}", f"repeat {number}"]


def started(service: Service, questions: Path, answers: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "ACTORS": str(ACTORS),
        "LANES": "1",
        "MODEL": "quiz",
        "OPENAI_API_KEY": service.emulator.api_key or "",
        "OPENAI_BASE_URL": service.emulator.base_url,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RAY_AUTH_MODE": "disabled",  # with it, Ray writes a token into the home directory
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(questions), str(answers)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(service: Service, questions: Path, answers: Path) -> list[str]:
    """Run the evaluation to its end; return what it prints."""
    with started(service, questions, answers) as program:
        printed, _ = program.communicate(timeout=TIMEOUT_S)
    assert program.returncode == 0, printed
    return printed.splitlines()


def rows_of(path: Path) -> dict[str, Row]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rows = {line["id"]: line for line in lines}
    assert len(rows) == len(lines)
    return rows


def test_an_evaluation_is_answered_over_few_sockets_and_failed_rows_are_kept_and_tried_again(
    service: Service, questions: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    printed = run(service, questions, answers)
    assert printed[0] == f"{ROWS} rows have no answer"
    assert printed[-2].startswith(f"{ROWS} of {ROWS} rows, {len(BAD)} failed, ")
    assert printed[-1] == f"{ROWS - len(BAD)} of {ROWS} correct, {len(BAD)} failed"
    assert len(printed) > 3  # progress

    rows = rows_of(answers)
    assert rows.keys() == {f"row {number}" for number in range(ROWS)}
    for number in range(ROWS):
        if number in BAD:
            assert rows[f"row {number}"]["error"]["type"] == "ResponseFailed"
        else:
            assert rows[f"row {number}"] == {
                "id": f"row {number}",
                "answer": f"repeat {number}",
                "correct": True,
            }
    for response in service.emulator.responses.values():
        first, *rest = response.effective_context
        number = int(str(first["content"]).rpartition(" ")[2].rstrip("'}]"))
        remember, repeat = turns_of(number)
        context = [{"role": "user", "content": remember}]
        if rest:
            context += [{"role": "assistant", "content": remember}, {"role": "user", "content": repeat}]
        assert_context(response.effective_context, context)
    assert len(service.emulator.connections) <= ACTORS * 8

    service.is_mended = True
    asked = service.asked()
    printed = run(service, questions, answers)
    assert printed[0] == f"{len(BAD)} rows have no answer"
    assert printed[-1] == f"{ROWS} of {ROWS} correct, 0 failed"
    assert rows_of(answers).keys() == rows.keys()
    again = service.asked() - asked
    assert again == Counter(turn for number in BAD for turn in turns_of(number))


def test_a_killed_evaluation_continues_with_the_rows_that_it_had_not_answered(
    service: Service, questions: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    service.is_mended = True
    gates = []

    def hold_after_some(_: RequestRecord) -> None:
        # When so many came, one block of rows at least has been answered, and not all.
        if len(service.emulator.requests) == ROWS:
            gates.append(service.emulator.faults.hold(event=1, times=None))

    service.emulator.on_request.append(hold_after_some)
    with started(service, questions, answers) as program:
        assert program.stdout is not None
        assert any("failed" in line for line in program.stdout)
        os.killpg(program.pid, signal.SIGKILL)
    answered = rows_of(answers)
    assert 0 < len(answered) < ROWS
    with answers.open("a") as file:
        file.write('{"id": "row 1", "answ')  # a line that was cut
    service.emulator.on_request.clear()
    for gate in gates:
        gate.open()
    service.emulator.faults.clear()

    asked = service.asked()
    printed = run(service, questions, answers)
    assert printed[0] == f"{ROWS - len(answered)} rows have no answer"
    assert printed[-1] == f"{ROWS} of {ROWS} correct, 0 failed"
    again = service.asked() - asked
    assert not {turn for row in answered for turn in turns_of(int(row.split()[1]))} & again.keys()
