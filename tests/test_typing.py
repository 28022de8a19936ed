"""Type checks of the files in tests/typing, of the documents, and of the names of the package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MYPY = ["mypy", "--config-file", "pyproject.toml", "--no-error-summary"]
PYRIGHT = ["basedpyright", "--pythonpath", sys.executable]

pytestmark = pytest.mark.timeout(600)  # the checkers read every dependency, which is slow on a busy machine


def checked(command: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a type checker on this source tree."""
    bin_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(
        [sys.executable, "-m", *command, *map(str, arguments)],
        env=os.environ | {"PATH": bin_path, "PYTHONPATH": str(SOURCE)},
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )


def test_pyright_accepts_the_files_that_never_run() -> None:
    """`make types` runs mypy on them."""
    result = checked(PYRIGHT)
    assert result.returncode == 0, result.stdout


def as_module(document: Path) -> str | None:
    """The Python blocks of a document as the body of one async function, with their line numbers."""
    text = document.read_text()
    lines = [""] * (text.count("\n") + 1)
    for found in BLOCK.finditer(text):
        begin = text.count("\n", 0, found.start(1))
        for number, line in enumerate(found[1].splitlines(), begin):
            lines[number] = f"    {line}" if line else ""
    if not any(lines):
        return None
    assert lines[0] == "", f"{document} begins with a block of code"
    return "\n".join(["async def page() -> None:", *lines[1:], ""])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every document with Python blocks, as a module."""
    folder = tmp_path_factory.mktemp("pages")
    for document in DOCUMENTS:
        source = as_module(document)
        if source is not None:
            name = "_".join(document.relative_to(ROOT).with_suffix("").parts).replace("-", "_")
            (folder / f"{name}_page.py").write_text(source)
    assert list(folder.glob("README_page.py"))
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "extraPaths": [str(SOURCE)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return folder


def test_mypy_accepts_every_block_of_the_documents(pages: Path) -> None:
    result = checked(MYPY, *sorted(pages.glob("*.py")))
    assert result.returncode == 0, result.stdout + result.stderr


def test_pyright_accepts_every_block_of_the_documents(pages: Path) -> None:
    result = checked(PYRIGHT, "--project", pages)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_mistake_in_a_document_would_be_found(tmp_path: Path) -> None:
    document = tmp_path / "wrong.md"
    document.write_text("# Title\n\n```python\nimport trunkline\nawait trunkline.Client().wram()\n```\n")
    source = as_module(document)
    assert source is not None
    (tmp_path / "wrong_page.py").write_text(source)
    result = checked(MYPY, tmp_path / "wrong_page.py")
    assert "wrong_page.py:5" in result.stdout
    assert "wram" in result.stdout


def test_the_types_of_all_names_are_complete() -> None:
    result = checked(["basedpyright"], "--verifytypes", "trunkline", "--ignoreexternal", "--outputjson")
    report: dict[str, Any] = json.loads(result.stdout)["typeCompleteness"]
    assert Path(report["packageRootDirectory"]) == SOURCE / "trunkline"
    assert len(report["symbols"]) > 1000
    incomplete = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in report["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
        for diagnostic in symbol.get("diagnostics", [])
    ]
    assert incomplete == []
    assert report["completenessScore"] == 1
