"""The pages for contributors name files, modules and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_layers import FLOORS, TRUNKLINE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "design").glob("*.md"))]
CODE = re.compile(r"`([^`\s]+)`")


def spans(page: Path) -> set[str]:
    """The pieces of code in the text of a page, without spaces."""
    return set(CODE.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)))


def exists(span: str) -> bool:
    """Whether a path, from the root or from the package, or a module of the package exists."""
    if span.startswith("_") and "/" not in span:
        span = span.removesuffix(".py").replace(".", "/") + ".py"
    bases = (ROOT, TRUNKLINE.root, TRUNKLINE.root / "emulator", TRUNKLINE.root / "cli", ROOT / "tests")
    return any(list(base.glob(span)) for base in bases)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_modules_of_a_page_exist(page: Path) -> None:
    paths = {span for span in spans(page) if re.fullmatch(r"[a-z_][\w.*-]*/[\w./*-]*|_\w+\.\w+", span)}
    assert [path for path in sorted(paths) if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tree_has_every_file_and_folder_of_the_library() -> None:
    named = {span.rstrip("/") for span in spans(ROOT / "CONTRIBUTING.md")}
    assert set(FLOORS) - {""} <= named


def test_the_commands_are_those_of_the_makefile() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^\$ make ([\w-]+)", text, re.MULTILINE)) == targets
