"""A headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from ..waiting import TIME_SCALE, soon, until

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # for root, as in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
_ENDPOINT = re.compile(r"DevTools listening on (ws://\S+)")
_START_S = 60


class Page:
    """One page. It collects the URLs of its requests and every complaint of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._session = ""
        self._numbers = itertools.count(1)
        self._loaded = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    async def open(self, url: str) -> None:
        """Open a URL in a new tab, and wait until it is loaded."""
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            await self._call(f"{domain}.enable")
        self._loaded.clear()
        await self._call("Page.navigate", url=url)
        await soon(self._loaded.wait(), within_s=30)

    async def go(self, url: str) -> None:
        """Open a URL in the same tab, and wait until it is loaded."""
        self._loaded.clear()
        await self._call("Page.navigate", url=url)
        await soon(self._loaded.wait(), within_s=30)

    async def resize(self, width: int, height: int) -> None:
        """Give the page the size of a screen."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self._call("Emulation.setDeviceMetricsOverride", **size)

    async def prefer(self, scheme: str) -> None:
        """Prefer a colour scheme, ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self._call("Emulation.setEmulatedMedia", features=features)

    async def type_text(self, text: str) -> None:
        """Type into the focused element."""
        await self._call("Input.insertText", text=text)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, within_s: float = 30) -> Any:
        """Evaluate an expression in the page until its value is true, and return the value."""
        end = asyncio.get_running_loop().time() + within_s * TIME_SCALE
        while not (value := await self.evaluate(expression)):
            if asyncio.get_running_loop().time() > end:
                body = await self.evaluate("document.body.innerText")
                raise AssertionError(
                    f"timed out waiting until {expression}; complaints: {self.complaints}; page:\n{body}"
                )
            await asyncio.sleep(0.05)
        return value

    async def text(self, selector: str) -> str:
        """The text of an element."""
        text: str = await self.evaluate(f"document.querySelector({selector!r}).innerText")
        return text

    async def screenshot(self) -> bytes:
        """A picture of the visible part of the page, as PNG."""
        answer = await self._call("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])

    async def press(self, selector: str) -> None:
        """Click an element."""
        await self.evaluate(f"document.querySelector({selector!r}).click()")

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        return await soon(answer, within_s=30)

    async def _read(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                answer = self._answers.pop(event["id"])
                if "error" in event:
                    answer.set_exception(AssertionError(event["error"]))
                else:
                    answer.set_result(event["result"])
                continue
            params = event["params"]
            if event["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif event["method"] == "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            elif event["method"] == "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                self.complaints.append(str(params["args"]))


@asynccontextmanager
async def browsed(url: str, folder: Path) -> AsyncIterator[Page]:
    """A page of a new browser with a profile in this folder."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program is not None, "Chromium is not installed: apt-get install chromium"
    log = folder / "chromium.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            program,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        endpoint = await _endpoint(process, log)
        async with aiohttp.ClientSession() as session, session.ws_connect(endpoint, max_msg_size=0) as socket:
            page = Page(socket)
            try:
                await page.open(url)
                yield page
            finally:
                await page.close()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)  # the renderers too
        await soon(process.wait())


async def _endpoint(process: asyncio.subprocess.Process, log: Path) -> str:
    found: list[str] = []

    def is_known() -> bool:
        text = log.read_text(errors="replace")
        assert process.returncode is None, text
        found.extend(_ENDPOINT.findall(text))
        return bool(found)

    await until(is_known, "the browser has started", within_s=_START_S)
    return found[0]
