"""The documentation site: no warnings, broken links, forgotten pages, or requests to other hosts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import trunkline
from trunkline import emulator, errors, events, gateway, openai, otel, tools

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BUILD = DOCS / "_site" / "build.py"
HERE = "http://site.invalid/"
MODULES = (trunkline, emulator, errors, events, gateway, openai, otel, tools)


class Page(HTMLParser):
    """The links of a page, those of its navigation, what it loads, and its anchors."""

    def __init__(self, path: Path, site: Path) -> None:
        super().__init__()
        self.url = urljoin(HERE, path.relative_to(site).as_posix().removesuffix("index.html"))
        self.links: set[str] = set()
        self.in_navigation: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = set()
        self._depth = 0
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._depth += tag == "nav"
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(urljoin(self.url, values["href"]))
            if self._depth:
                self.in_navigation.add(urljoin(self.url, values["href"]).partition("#")[0])
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.loads.add(urljoin(self.url, values["href"]))
        if "src" in values:
            self.loads.add(urljoin(self.url, values["src"]))

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "nav"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Building fails on any warning."""
    target = tmp_path_factory.mktemp("docs")
    command = [sys.executable, str(BUILD), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """The pages by URL."""
    found = [Page(path, site) for path in site.rglob("*.html") if path.name != "404.html"]
    return {page.url: page for page in found}


def url_of(page: Path) -> str:
    """The URL of a page of docs/ on the site."""
    name = page.relative_to(DOCS).with_suffix("").as_posix()
    name = name.removesuffix("README").removesuffix("index")
    return urljoin(HERE, name if name.endswith("/") or not name else f"{name}/")


def test_each_page_is_in_the_navigation(pages: dict[str, Page]) -> None:
    named = pages[HERE].in_navigation
    assert [page.as_posix() for page in sorted(DOCS.rglob("*.md")) if url_of(page) not in named] == []
    assert {urljoin(HERE, f"{name}/") for name in ("changelog", "contributing", "examples")} <= named


def test_no_link_within_the_site_is_broken(site: Path, pages: dict[str, Page]) -> None:
    broken = []
    for page in pages.values():
        for link in page.links | page.loads:
            url, _, anchor = link.partition("#")
            if not url.startswith(HERE):
                continue
            target = pages.get(url)
            file = site / unquote(urlsplit(url).path).lstrip("/")
            if target is None and not file.is_file():
                broken.append(f"{page.url} -> {link}")
            elif target is not None and anchor and unquote(anchor) not in target.anchors:
                broken.append(f"{page.url} -> {link}: no such anchor")
    assert sorted(broken) == []


def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[str, Page]) -> None:
    loaded = {url for page in pages.values() for url in page.loads}
    assert {url for url in loaded if not url.startswith((HERE, "data:"))} == set()
    in_styles = [
        (path.name, url)
        for path in site.rglob("*.css")
        for url in re.findall(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", path.read_text())
    ]
    assert in_styles == []


def test_the_search_index_is_local_and_has_the_pages(site: Path) -> None:
    index = (site / "search.json").read_text()
    assert all(word in index for word in ("barge-in", "OPENAI_API_KEY", "max_retry_after_s"))


def test_the_reference_has_every_public_name(site: Path) -> None:
    """The inventory is a header of four lines, and compressed lines with a name each."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    found = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    last = {name.rpartition(".")[2] for name in found}
    names = {name for module in MODULES for name in module.__all__ if not name.startswith("__")}
    assert names - last == set()


def test_the_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    folder = DOCS / "pictures"
    before = {path.name: path.read_text() for path in folder.glob("*.svg")}
    script = (DOCS / "_site" / "pictures.py").read_text()
    names: dict[str, object] = {
        "__name__": "pictures",
        "__file__": str(tmp_path / "docs" / "_site" / "pictures.py"),
    }
    exec(compile(script, "pictures.py", "exec"), names)  # writes beside the file that it is told to be
    (tmp_path / "docs").mkdir()
    main = names["main"]
    assert callable(main)
    main()
    assert {path.name: path.read_text() for path in (tmp_path / "docs" / "pictures").glob("*.svg")} == before


def texts_of_the_source() -> str:
    """All strings of the library, with the gaps of formatted ones."""
    found = []
    for path in (ROOT / "src" / "trunkline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_messages_of_troubleshooting_are_those_of_the_library() -> None:
    page = (DOCS / "troubleshooting.md").read_text().partition("## Without a message")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    source = texts_of_the_source().replace("{}", "…")
    pieces = {
        piece.strip() for message in messages for piece in re.split(r"…|; |connect$|'trunkline\[", message)
    }
    assert len(messages) > 25
    assert [piece for piece in sorted(pieces) if len(piece) > 3 and piece not in source] == []
