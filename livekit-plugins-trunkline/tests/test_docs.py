"""The pieces of the documents run as they are written, and so does the example."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import logging
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from livekit.plugins import trunkline
from trunkline.emulator import Emulator

from .talk import check_contexts, session_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "livekit-plugins-trunkline" / "README.md", ROOT / "docs" / "livekit.md"]
BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example_of(name: str) -> Any:
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / name)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


@pytest.fixture
def served(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", emulator.api_key or "")
    return emulator


def text_of(document: Path) -> str:
    return document.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
async def test_the_pieces_run_as_written(
    document: Path, served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[trunkline.LLM] = []

    class Recorded(trunkline.LLM):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(trunkline, "LLM", Recorded)
    names: dict[str, Any] = {"__name__": "document"}
    for found in BLOCK.finditer(text_of(document)):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(found[1], str(document), "exec", flags=flags, dont_inherit=True)
        running = FunctionType(code, names)()
        if inspect.iscoroutine(running):
            await running
    for llm in made:  # the pieces are parts of programs, and do not show the end
        await llm.aclose()
        await llm.client.close()


async def test_the_example_takes_calls(emulator: Emulator, llm: trunkline.LLM) -> None:
    example = example_of("livekit_agent.py")
    emulator.expect("for two please").calls("book_table", guests=2, time="at eight")
    emulator.expect("in the soup").calls("ask_the_cook")
    async with session_of(llm, example.Receptionist()) as session:
        while not session.history.messages():
            await asyncio.sleep(0.01)
        await session.run(user_input="A table for two please")
        check_contexts(emulator, session)
        await session.run(user_input="What is in the soup?")
        assert isinstance(session.current_agent, example.Cook)
        await session.run(user_input="Thank you very much")
        check_contexts(emulator, session)


async def test_the_example_of_contexts_prints_what_the_page_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    level = logging.getLogger("livekit.agents").level
    monkeypatch.setattr(logging.getLogger("livekit.agents"), "level", level)  # the example changes it
    await example_of("livekit_contexts.py").main()
    printed = capsys.readouterr().out
    page = text_of(ROOT / "docs" / "livekit.md")
    _, ours = printed.split("trunkline\n")
    assert "different" not in ours
    assert printed.count("equal") == 6
    assert "".join(f"    {line}\n" for line in printed.splitlines()) in page
