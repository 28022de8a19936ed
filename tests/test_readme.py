"""The Python blocks of the documents run as written."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

from trunkline.emulator import Emulator, RequestRecord
from trunkline.emulator.gate import Gate

from .cli.command import ESCAPE, in_terminal_program

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PASTED = [document for document in DOCUMENTS if "`python -m asyncio`" in document.read_text()]
# In a dumb terminal, `python -m asyncio` of Python 3.13 takes no statement of more than one line.
TERMINALS = ["xterm-256color"] if sys.version_info >= (3, 13) else ["dumb", "xterm-256color"]
STEERED = "all the trains of the world"


class Patience:
    """Holds the answers to the questions that are steered until the steer is there."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._gate: Gate | None = None

    def __call__(self, request: RequestRecord) -> None:
        if request.kind == "response.steer" and self._gate is not None:
            self._gate.open()
        elif STEERED in str((request.body or {}).get("input")):
            self._gate = self._emulator.faults.hold(event=6)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator whose URL and key are in the environment."""
    emulator = Emulator()
    emulator.on_request.append(Patience(emulator))
    with emulator.run_in_thread():
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", emulator.api_key or "")
        yield emulator


def blocks(document: Path) -> list[tuple[int, str]]:
    """The Python blocks of a document, with their line numbers."""
    text = document.read_text()
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


def run(source: str, line: int, document: Path, names: dict[str, object], runner: asyncio.Runner) -> None:
    """Run a block as `python -m asyncio` does, which allows top-level await."""
    filename, flags = str(document), ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile("\n" * line + source, filename, "exec", flags=flags, dont_inherit=True)
    running = FunctionType(code, names)()
    if inspect.iscoroutine(running):
        runner.run(running)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_run_as_written(
    document: Path, served: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for line, source in blocks(document):
            run(source, line, document, names, runner)
            promised = re.findall(r"^\s*print\(.*?\)  # (.+)$", source, re.MULTILINE)
            printed = capsys.readouterr().out.splitlines()
            assert [text for text in promised if text not in printed] == []


@pytest.mark.parametrize("term", TERMINALS)
@pytest.mark.parametrize("document", PASTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_can_be_pasted_into_the_interpreter(document: Path, term: str, served: Emulator) -> None:
    """In a terminal: each block as it stands, and an Enter. From 3.13 on, the interpreter brackets pastes."""
    env = {**os.environ, "TERM": term}
    begin, end = (f"{ESCAPE}[200~", f"{ESCAPE}[201~") if sys.version_info >= (3, 13) else ("", "")
    first = 1 if document.name == "README.md" else 0  # its first block is a program
    with in_terminal_program(sys.executable, "-m", "asyncio", env=env) as terminal:
        terminal.wait_for(">>> ")
        for number, (_, source) in enumerate(blocks(document)[first:]):
            terminal.type(f"{begin}{source}{end}\n")
            terminal.type(f'print("block", {number}, "ended")\n')
            shown = terminal.wait_for(f"block {number} ended")
            assert not re.search(r"Traceback|SyntaxError|IndentationError", shown), shown
        terminal.type("exit()\n")
        terminal.end()


def test_the_first_block_of_the_readme_is_an_example() -> None:
    (_, source), *_ = blocks(ROOT / "README.md")
    example = (ROOT / "examples" / "hello.py").read_text()
    assert [line for line in source.splitlines() if line] == [
        line for line in example.rpartition('"""\n')[2].splitlines() if line
    ]


def test_the_first_block_of_the_readme_is_ten_lines_that_run(
    served: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    line, source = blocks(ROOT / "README.md")[0]
    assert len([text for text in source.splitlines() if text]) <= 10
    with asyncio.Runner() as runner:
        run(source, line, ROOT / "README.md", {"__name__": "__main__"}, runner)
    assert capsys.readouterr().out == "You said: Hello, who is there?"
    (response,) = served.responses.values()
    assert response.transport == "websocket"


def test_the_readme_names_the_two_commands() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^\$ make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
