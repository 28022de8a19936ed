"""The documentation site in a real browser: searched, on a phone, in the dark, and without another host."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .browser import Page, browsed

ROOT = Path(__file__).parents[2]
PHONE = (390, 844)
DESKTOP = (1300, 900)
# The search lives in a shadow root, which focus stays in.
SEARCH = "document.activeElement.shadowRoot"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    target = tmp_path_factory.mktemp("docs")
    command = [sys.executable, str(ROOT / "docs" / "_site" / "build.py"), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target / "site"


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """The site, served on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def at_width(page: Page, size: tuple[int, int], url: str) -> None:
    """Show a URL in a window of this size."""
    width, height = size
    await page.resize(width, height)
    await page.go(url)


@pytest.fixture(scope="module")
def pages(folder: Path) -> list[str]:
    """The paths of all pages."""
    return [path.parent.relative_to(folder).as_posix() for path in sorted(folder.rglob("index.html"))]


async def test_every_page_fits_a_phone_and_a_desktop(url: str, pages: list[str], tmp_path: Path) -> None:
    assert len(pages) > 50
    too_wide = []
    async with browsed(url, tmp_path) as page:
        for size in (PHONE, DESKTOP):
            for name in pages if size == PHONE else pages[::8]:
                await at_width(page, size, f"{url}{name}/")
                if await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                    too_wide.append((size, name))
        assert too_wide == []
        assert page.complaints == []
        assert {
            request for request in page.requested if not request.startswith((url, "data:", "blob:"))
        } == set()


async def test_the_search_finds_pages_without_another_host(url: str, tmp_path: Path) -> None:
    async with browsed(url, tmp_path) as page:
        await at_width(page, DESKTOP, url)
        await page.press(".md-search__button")
        await page.until(f"{SEARCH}?.activeElement?.tagName === 'INPUT'")
        await page.type_text("barge-in")
        found = await page.until(f"[...{SEARCH}.querySelectorAll('a')].map((link) => link.href).join(' ')")
        assert f"{url}guide/?h=barge-in#barge-in" in found.split()
        assert {
            request for request in page.requested if not request.startswith((url, "data:", "blob:"))
        } == set()


async def test_it_is_dark_for_readers_who_prefer_that(url: str, tmp_path: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    async with browsed(url, tmp_path) as page:
        light = await page.evaluate(background)
        await page.prefer("dark")
        await page.go(url)
        assert await page.until(f"{background} !== {light!r} && {background}") != light
