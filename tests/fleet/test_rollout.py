"""Rolling updates and scale-downs of deploy/kubernetes under load."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, AsyncStream
from openai.types.responses import ResponseCompletedEvent

import trunkline
from trunkline.emulator import Emulator, assert_context

from ..waiting import soon, until
from .cluster import KEY, LATE_S, Cluster, cluster
from .pods import MANIFESTS, Settings

ROLLOUTS = int(os.environ.get("TRUNKLINE_FLEET_ROLLOUTS", "1"))
SSE, LANES, CLIENTS = 12, 4, 3
TURNS = 6  # of a conversation; then another one begins
TOKENS_PER_SECOND = 10
WORDS = (2, 30, 5, 150)  # answers of 0.2 to 15 s: some run when the notice is over
WITHIN_S = 300
_LOG = logging.getLogger(__name__)


def said(name: str, number: int) -> str:
    words = WORDS[(number + sum(map(ord, name))) % len(WORDS)]
    return f"{name} turn {number}" + " word" * words


class Load:
    """Conversations that talk until they are told to stop. No client of HTTP repeats a request.

    Attributes:
        broken: the turns that failed.
        turns: the turns that were answered.
        fulls: the turns that sent the whole context, of the conversations over HTTP.
    """

    def __init__(self, url: str, emulator: Emulator) -> None:
        self.broken: list[BaseException] = []
        self.turns: Counter[str] = Counter()
        self.fulls = 0
        self._url = url
        self._emulator = emulator
        self._stopped = asyncio.Event()

    async def _until_stopped(self, way: str, name: str, turn: Callable[[str], Any]) -> None:
        for number in itertools.count():
            if self._stopped.is_set():
                return
            try:
                await turn(said(name, number))
            except Exception as error:  # of the client, or an assertion about the answer
                self.broken.append(error)
                return
            self.turns[way] += 1

    async def speak_over_http(self, name: str) -> None:
        items: list[dict[str, Any]] = []
        async with AsyncOpenAI(
            base_url=self._url,
            api_key=KEY,
            max_retries=0,
            timeout=60,
            default_headers={"x-trunkline-key": name},
        ) as client:

            async def turn(text: str) -> None:
                if len(items) == 2 * TURNS:
                    items.clear()
                items.append({"type": "message", "role": "user", "content": text})
                raw = await client.responses.with_raw_response.create(
                    model="echo",
                    input=list(items),  # type: ignore[arg-type]
                    stream=True,
                )
                self.fulls += raw.headers["x-trunkline-mode"] == "full"
                stream = raw.parse()
                assert isinstance(stream, AsyncStream)
                *_, last = [event async for event in stream]
                assert isinstance(last, ResponseCompletedEvent)
                assert last.response.output_text == text
                assert_context(self._emulator.effective_context(last.response.id), items)
                items.extend(item.model_dump(exclude_none=True) for item in last.response.output)

            await self._until_stopped("sse", name, turn)

    async def speak_over_lanes(self, client: trunkline.Client, name: str) -> None:
        chat = client.conversation(model="echo")

        async def turn(text: str) -> None:
            nonlocal chat
            if len(chat.items) == 2 * TURNS:
                chat = client.conversation(model="echo")
            response = await chat.run(text)
            assert response.output_text == text
            assert_context(self._emulator.effective_context(response.id), chat.items[:-1])

        await self._until_stopped("lanes", name, turn)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(SSE):
                group.create_task(self.speak_over_http(f"sse {number}"))
            for number in range(CLIENTS):
                group.create_task(self._client(number))

    async def _client(self, number: int) -> None:
        async with trunkline.Client(base_url=self._url, api_key=KEY) as client:
            names = [f"lane {number}.{each}" for each in range(LANES)]
            await asyncio.gather(*(self.speak_over_lanes(client, name) for name in names))

    def stop(self) -> None:
        self._stopped.set()


@asynccontextmanager
async def under_load(url: str, emulator: Emulator) -> AsyncIterator[Load]:
    """The load during the block; after it, all turns have ended."""
    load = Load(url, emulator)
    running = asyncio.ensure_future(load.run())
    try:
        yield load
        load.stop()
        await soon(running, 120)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def responses_of(emulator: Emulator) -> int:
    return sum(request.kind == "response.create" for request in emulator.requests)


@pytest.fixture
async def paced() -> AsyncIterator[Emulator]:
    async with Emulator(tokens_per_second=TOKENS_PER_SECOND, history=10**6) as running:
        yield running


@pytest.fixture
async def shipped(tmp_path: Path, paced: Emulator) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, paced.base_url, paced.api_key or "") as found:
        await soon(found.scale(found.settings.least + 1), WITHIN_S)
        await soon(found.served(), WITHIN_S)
        yield found


def test_the_grace_period_is_longer_than_the_drain_and_the_notice_than_the_delay_of_endpoints() -> None:
    drain = tomllib.loads((MANIFESTS / "trunkline.toml").read_text())["drain"]
    settings = Settings.shipped()
    assert settings.grace_s > settings.pre_stop_s + drain["notice_s"] + drain["within_s"]
    assert drain["notice_s"] > LATE_S + settings.readiness.period_s
    assert settings.min_ready_s > LATE_S


@pytest.mark.timeout(300 * (1 + ROLLOUTS))
async def test_rolling_updates_and_a_scale_down_break_no_answer(shipped: Cluster, paced: Emulator) -> None:
    async with under_load(shipped.base_url, paced) as load:
        await until(
            lambda: bool(load.broken) or (load.turns["sse"] >= SSE and load.turns["lanes"] >= LANES),
            "all talk",
            within_s=60,
            describe=lambda: load.turns,
        )
        assert load.broken == []
        for _ in range(ROLLOUTS):
            await soon(shipped.roll(), WITHIN_S)
        await soon(shipped.scale(shipped.settings.least), WITHIN_S)
    assert load.broken == []
    assert len(shipped.ended) == ROLLOUTS * (shipped.settings.least + 1) + 1
    assert not any(pod.was_killed or pod.restarts for pod in [*shipped.ended, *shipped.pods])
    # Each turn ran once.
    assert responses_of(paced) == load.turns.total()
    fulls = f"{load.fulls} of {load.turns['sse']} over HTTP sent the whole context"
    _LOG.info("%s turns; %s", dict(load.turns), fulls)  # --log-cli-level=info


async def test_a_grace_period_shorter_than_an_answer_breaks_it(tmp_path: Path, emulator: Emulator) -> None:
    """The replica is killed: what the manifests prevent."""
    gate = emulator.faults.hold(event_type="response.completed", times=None)
    async with cluster(tmp_path, emulator.base_url, emulator.api_key or "", grace_s=0.5) as found:
        await soon(found.scale(2), WITHIN_S)
        await soon(found.served(), WITHIN_S)
        async with under_load(found.base_url, emulator) as load:
            everyone = SSE + CLIENTS * LANES
            await until(lambda: responses_of(emulator) == everyone, "all answers run", within_s=60)
            await soon(found.scale(1), WITHIN_S)
            assert [pod.was_killed for pod in found.ended] == [True]
            await until(lambda: bool(load.broken), "the answers of the killed replica break")
            gate.open()
    assert 0 < len(load.broken) < everyone
