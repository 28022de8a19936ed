"""Builds the documentation site: ``python docs/_site/build.py [FOLDER]``, by default in ``build/docs``.

The pages of docs/ are also read in the repository, where a link may lead to ``../examples/tools.py``. They
are copied, with such links led to their places on the site. Pages are added that are made from other files:
the examples, the changelog and CONTRIBUTING.md. Any warning is an error.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OWN = DOCS / "_site"
TARGET = ROOT / "build" / "docs"
OTHER_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting-vulnerabilities.md",
}
"""Pages of the site by the file of the repository that has the same content."""
MORE = "More"
MODULES = ("", "emulator", "errors", "events", "gateway", "openai", "otel", "tools")
"""The public modules of trunkline; "" is the package's own."""

_LINK = re.compile(r"(?P<text>\[[^\[\]]*)\]\((?!\w+:)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def build(target: Path) -> Path:
    """Build the site in a folder, and return the folder of its pages.

    Raises:
        SystemExit: a link leads nowhere, or the generator has a warning.
    """
    print("Collecting the pages …", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    pages = target / "pages"
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("_site", "__pycache__"))
    shutil.copy(OWN / "extra.css", pages)
    for name, (folder, text) in _made().items():
        (pages / name).write_text(_led(text, folder, name))
    if names := _unnamed():
        (pages / "reference" / "more.md").write_text(f"# More names\n\n{names}")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        (pages / name).write_text(
            _led(page.read_text(), posixpath.join("docs", posixpath.dirname(name)), name)
        )
    config = (OWN / "mkdocs.yml").read_text().replace("SOURCES", str(ROOT / "src"))
    (target / "mkdocs.yml").write_text(config + _more(config, pages))
    print("Building the site and the reference, about ten seconds …", flush=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", "mkdocs.yml"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
    if done.returncode or "No issues found" not in done.stdout + done.stderr:
        sys.exit(f"{done.stdout}{done.stderr}")
    return target / "site"


def _more(config: str, pages: Path) -> str:
    """A last section of the navigation with the pages that it does not name."""
    names = sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.md"))
    named = set(re.findall(r"([\w/.-]+\.md)$", config, re.MULTILINE))
    missing = [name for name in names if name not in named]
    return "".join([f"  - {MORE}:\n", *(f"      - {name}\n" for name in missing)]) if missing else ""


def _unnamed() -> str:
    """Directives for the public names that no page of the reference has."""
    pages = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    named = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)}
    missing: dict[str, str] = {}
    for module in MODULES:
        path = ROOT / "src" / "trunkline" / module
        tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                for name in ast.literal_eval(node.value):
                    if name not in named and not name.startswith("__"):
                        missing.setdefault(name, ".".join(filter(None, ["trunkline", module, name])))
    return "\n".join(f"::: {name}\n" for name in missing.values())


def _led(markdown: str, folder: str, page: str) -> str:
    """A page whose links to files outside docs/ lead to their places on the site."""

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found["path"]))
        place = _place(target)
        if place is None:
            if not (ROOT / target).exists():
                sys.exit(f"{posixpath.join(folder, posixpath.basename(page))}: {target} does not exist")
            return found["text"].removeprefix("[")  # only in the repository
        up = posixpath.relpath(place.partition("#")[0], posixpath.dirname(page) or ".")
        anchor = found["anchor"] or "".join(place.partition("#")[1:])
        return f"{found['text']}]({up}{anchor})"

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(lead, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(lead, markdown[end:])])


def _place(target: str) -> str | None:
    """The page of a file of the repository, relative to docs/."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.startswith("examples"):
        name = target.removeprefix("examples").strip("/")
        return f"examples.md#{_anchor(name)}" if name else "examples.md"
    return OTHER_PAGES.get(target)


def _made() -> dict[str, tuple[str, str]]:
    """The pages made from other files: the folder that their links start from, and their text."""
    return {
        "changelog.md": ("", _changelog()),
        "contributing.md": ("", (ROOT / "CONTRIBUTING.md").read_text()),
        "examples.md": ("docs", "\n".join(_examples())),
        "code-of-conduct.md": ("", (ROOT / "CODE_OF_CONDUCT.md").read_text()),
        "reporting-vulnerabilities.md": ("", (ROOT / "SECURITY.md").read_text()),
    }


def _examples() -> Iterator[str]:
    yield "# Examples\n"
    yield "Whole programs, in the folder `examples/`. The tests run them.\n"
    for path in sorted((ROOT / "examples").glob("*.py")):
        source = path.read_text()
        about, code = ast.get_docstring(ast.parse(source)) or "", source.split('"""', 2)[2].strip()
        yield f"## {path.name} {{#{_anchor(path.name)}}}\n\n{about}\n\n```py\n{code}\n```\n"


def _anchor(name: str) -> str:
    return name.replace(".", "-")


def _changelog() -> str:
    """The changelog, with the entries of the next release that still are single files."""
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "Unreleased"]
    draft = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    begin, _, end = (ROOT / "CHANGELOG.md").read_text().partition("<!-- towncrier release notes start -->")
    entries = draft.partition("## ")[2]
    return f"# Changelog\n\n## {entries}\n{end}" if "\n- " in entries else f"{begin}\n{end}"


if __name__ == "__main__":
    site = build(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else TARGET)
    print(f"The site is in {site}")
