"""Restarts of a server and of nginx under load: no turn without output fails, and no text is wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

import trunkline
from trunkline import Deadlines
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from ..test_restart import Served
from ..waiting import TIME_SCALE, soon, until
from .test_nginx import Nginx

CALLERS = 200
PAUSE_S = 0.5
TURNS_AFTER = 2
PACE = ("--first-token-s", "0.02", "--tokens-per-second", "100")
TransportName = Literal["auto", "websocket", "http"]

pytestmark = pytest.mark.usefixtures("no_proxy")


class Load:
    """Callers that talk all the time, each in a conversation of its own.

    Attributes:
        turns: the turns that were answered.
        errors: the turns that failed after output, by error; and those that failed before it.
        wrong: the texts that are not what the model says.
    """

    def __init__(self, client: trunkline.Client) -> None:
        self._client = client
        self._is_over = False
        self.turns = 0
        self.errors: Counter[str] = Counter()
        self.failed: list[trunkline.TurnError] = []
        self.wrong: list[str] = []
        self._callers: list[asyncio.Task[None]] = []
        self._begun = 0

    async def begin(self) -> None:
        """Begin to talk. Returns when each caller has had an answer."""
        self._callers = [asyncio.create_task(self._call(number)) for number in range(CALLERS)]
        await until(lambda: self._begun == CALLERS, "every caller has an answer", within_s=60)

    async def end(self) -> None:
        """Let each caller have further answers, and hang up."""
        self._is_over = True
        await soon(asyncio.gather(*self._callers), within_s=120)

    async def _call(self, number: int) -> None:
        chat = self._client.conversation(model="echo")
        turn = answers = 0
        while not self._is_over or answers < TURNS_AFTER:
            turn += 1
            words = f"caller {number} says this for the time {turn}"
            answered = await self._say(chat, words)
            answers = answers + answered if self._is_over else 0
            if turn == 1:
                self._begun += 1
            await asyncio.sleep(PAUSE_S * (0.5 + (number * 7 + turn) % CALLERS / CALLERS))

    async def _say(self, chat: trunkline.Conversation, words: str) -> bool:
        stream = chat.send(words)
        try:
            async with stream:
                text = (await stream.finish()).output_text
        except trunkline.TurnError as error:
            if error.output_seen:
                self.errors[type(error).__name__] += 1
                if not words.startswith(stream.received_text):
                    self.wrong.append(stream.received_text)
            else:
                self.failed.append(error)
            return False
        self.turns += 1
        if text != words or stream.received_text != words:
            self.wrong.append(text)
        return True


async def survives(client: trunkline.Client, restart: Callable[[], Awaitable[None]]) -> None:
    """Restart while callers talk, and check their turns."""
    load = Load(client)
    await load.begin()
    dials = client.metrics.dials
    await restart()
    await load.end()
    if dials:
        assert client.metrics.dials > dials, "no connection was ended"
    assert load.wrong == []
    assert [f"{type(error).__name__}: {error}" for error in load.failed] == []
    assert load.turns >= CALLERS * (1 + TURNS_AFTER)


def client_of(base_url: str, key: str | None, transport: TransportName) -> trunkline.Client:
    deadlines = Deadlines(connect=30 * TIME_SCALE, first_event=30 * TIME_SCALE)
    return trunkline.Client(
        base_url=base_url, api_key=key, transport=transport, lanes=True, deadlines=deadlines
    )


@pytest.fixture
async def nginx(tmp_path: Path, emulator: Emulator) -> AsyncIterator[Nginx]:
    upstream = urlsplit(emulator.base_url).port
    assert upstream is not None
    emulator.pace = Pace(0.02, 100)
    proxy = Nginx(tmp_path, upstream, has_master=True)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def served(watched: None) -> AsyncIterator[Served]:
    server = Served()
    await server.start(*PACE)
    yield server
    await server.kill()


@pytest.mark.parametrize("transport", ["auto", "websocket", "http"])
async def test_a_server_that_restarts_fails_no_turn(served: Served, transport: TransportName) -> None:
    async def restart() -> None:
        await served.kill()
        await asyncio.sleep(1.5)
        await served.start(*PACE)  # without the responses that it has stored

    async with client_of(served.base_url, "sk-emulator", transport) as client:
        await survives(client, restart)


@pytest.mark.parametrize("transport", ["auto", "websocket"])
async def test_a_reload_of_nginx_fails_no_turn(
    nginx: Nginx, emulator: Emulator, transport: TransportName
) -> None:
    async with client_of(nginx.base_url, emulator.api_key, transport) as client:
        await survives(client, nginx.reload)


@pytest.mark.parametrize("transport", ["auto", "websocket"])
async def test_an_nginx_that_is_stopped_and_started_fails_no_turn(
    nginx: Nginx, emulator: Emulator, transport: TransportName
) -> None:
    async def restart() -> None:
        await nginx.stop()
        await asyncio.sleep(1.0)
        await nginx.start()

    async with client_of(nginx.base_url, emulator.api_key, transport) as client:
        await survives(client, restart)
