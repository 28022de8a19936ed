"""Event loops and threads: trio, several loops, loops that ended, threads that begin at once, forks."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
import trio
from openai import AsyncOpenAI, BadRequestError, OpenAI

import trunkline.openai
from trunkline.emulator import Emulator

from ..waiting import wait_until
from .talk import Modes, dropin, plain, user

THREADS = 24


@pytest.fixture
def emulator() -> Iterator[Any]:
    with Emulator().run_in_thread() as running:
        yield running


def transports_used(emulator: Any) -> set[str]:
    return {request.transport for request in emulator.requests}


# trio


def test_under_trio_requests_go_over_http(emulator: Any) -> None:
    async def main() -> list[str]:
        async with dropin(emulator) as client:
            modes = Modes(client)
            first = await modes.create(input="hello")
            items = [user("hello"), *[item.model_dump(exclude_none=True) for item in first.output]]
            second = await modes.stream(input=[*items, user("words")], model="words-20")
            assert len(second.output_text.split()) == 20
            with pytest.raises(BadRequestError):
                await modes.create(input="x", model="refuse-400-invalid_prompt")
            assert (await client.models.list()).data
            await client.responses.delete(first.id)
            return modes.seen

    assert trio.run(main) == ["http", "http"]
    assert transports_used(emulator) == {"http"}
    assert not emulator.connections


def test_streams_under_trio_run_at_the_same_time_and_can_be_cancelled(emulator: Any) -> None:
    gate = emulator.faults.hold(event=6, model="words-30", times=None)

    async def main() -> str:
        async with dropin(emulator) as client:
            with trio.move_on_after(0.05) as scope:
                await Modes(client).stream(input="x", model="words-30")
            assert scope.cancelled_caught
            text: str = (await Modes(client).stream(input="hello")).output_text
            return text

    assert trio.run(main) == "hello"
    gate.open()


def test_one_client_under_asyncio_and_under_trio(emulator: Any) -> None:
    transport = trunkline.openai.AsyncTransport(lanes=True)

    async def ask() -> list[str]:
        # The SDK's client ends with its loop; the transport may serve another.
        async with plain(emulator, http_client=httpx2.AsyncClient(transport=transport)) as client:
            modes = Modes(client)
            await modes.create(input="hello")
            return modes.seen

    assert asyncio.run(ask()) == ["full"]
    assert trio.run(ask) == ["http"]
    assert asyncio.run(ask()) == ["full"]


# Several asyncio loops


def in_loop(client: AsyncOpenAI, text: str) -> tuple[str, str]:
    """A response in a loop of its own, and how it was sent."""

    async def ask() -> tuple[str, str]:
        modes = Modes(client)
        response = await modes.create(input=text)
        return response.output_text, modes.seen[0]

    return asyncio.run(ask())


def test_a_client_outlives_its_loop(emulator: Any, recwarn: pytest.WarningsRecorder) -> None:
    client = dropin(emulator)
    for number in range(3):
        assert in_loop(client, f"loop {number}") == (f"loop {number}", "full")
        wait_until(lambda: not emulator.live_connections, "the sockets end with their loop")
    asyncio.run(client.close())
    del client
    gc.collect()
    assert not [str(each.message) for each in recwarn.list]


def test_two_loops_at_the_same_time_have_sockets_of_their_own(emulator: Any) -> None:
    client, barrier = dropin(emulator), threading.Barrier(2, timeout=60)

    def talk(name: str) -> list[str]:
        async def ask() -> list[str]:
            modes = Modes(client)
            barrier.wait()
            first = await modes.create(input=name)
            barrier.wait()  # both sockets are open
            said = [user(name), {"role": "assistant", "content": first.output_text}, user("more")]
            second = await modes.create(input=said)
            assert (first.output_text, second.output_text) == (name, "more")
            barrier.wait()
            return modes.seen

        return asyncio.run(ask())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(talk, ["one", "two"])) == [["full", "delta"]] * 2
    assert len(emulator.connections) == 2
    wait_until(lambda: not emulator.live_connections, "the sockets end with their loops")


def test_a_client_that_another_loop_closes_ends_its_sockets_there(emulator: Any) -> None:
    client = dropin(emulator)
    is_closed, has_asked = threading.Event(), threading.Event()

    async def ask() -> None:
        await Modes(client).create(input="hello")
        has_asked.set()
        await asyncio.to_thread(is_closed.wait)
        wait_until_open = asyncio.get_running_loop().time() + 60
        while emulator.live_connections and asyncio.get_running_loop().time() < wait_until_open:
            await asyncio.sleep(0.005)
        assert not emulator.live_connections

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(asyncio.run, ask())
        has_asked.wait(60)
        asyncio.run(client.close())
        is_closed.set()
        asked.result()


def test_a_loop_that_was_closed_in_mid_stream_leaves_nothing(
    emulator: Any, recwarn: pytest.WarningsRecorder
) -> None:
    gate = emulator.faults.hold(event=7)
    client, streams = dropin(emulator), []

    async def begin() -> None:
        stream = await client.responses.create(model="words-10", input="x", stream=True)
        await anext(stream)
        streams.append(stream)

    asyncio.run(begin())
    wait_until(lambda: not emulator.live_connections, "the sockets end with their loop")
    streams.clear()
    gc.collect()
    gate.open()
    assert in_loop(client, "again") == ("again", "full")
    assert not [each for each in recwarn.list if issubclass(each.category, ResourceWarning)]


# Threads


@pytest.mark.parametrize("round_", range(3))
def test_threads_that_begin_at_once_start_one_loop(emulator: Any, round_: int) -> None:
    """Each thread has a client of its own, and none has been used before."""
    barrier = threading.Barrier(THREADS, timeout=60)

    def talk(number: int) -> tuple[str, int]:
        http = trunkline.openai.http_client(lanes=True)
        given: Any = {"base_url": emulator.base_url, "api_key": emulator.api_key, "max_retries": 0}
        with OpenAI(http_client=http, **given) as client:
            barrier.wait()
            text = client.responses.create(model="echo", input=f"thread {number}").output_text
            barrier.wait()  # all clients are in use, so that the loop has not ended
            running = [thread.name for thread in threading.enumerate()].count("trunkline openai")
            barrier.wait()
            return text, running

    with ThreadPoolExecutor(THREADS) as pool:
        found = sorted(pool.map(talk, range(THREADS)))
    assert found == sorted((f"thread {number}", 1) for number in range(THREADS))
    assert "trunkline openai" not in [thread.name for thread in threading.enumerate()]
    assert len(emulator.connections) < THREADS


def test_threads_that_come_and_go_share_the_loop_or_start_it_anew(emulator: Any) -> None:
    """Closing the last client ends the loop, while other threads begin."""

    def talk(number: int) -> list[str]:
        texts = []
        for turn in range(5):
            given: Any = {"base_url": emulator.base_url, "api_key": emulator.api_key, "max_retries": 0}
            with OpenAI(http_client=trunkline.openai.http_client(lanes=True), **given) as client:
                text = f"thread {number}, turn {turn}"
                texts.append(client.responses.create(model="echo", input=text).output_text)
        return texts

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(talk, range(8)))
    assert found == [[f"thread {number}, turn {turn}" for turn in range(5)] for number in range(8)]
    assert "trunkline openai" not in [thread.name for thread in threading.enumerate()]


# Forks

PROGRAM = """
import asyncio, os, sys, warnings
warnings.simplefilter("error")
import trunkline.openai
from openai import AsyncOpenAI

client = AsyncOpenAI(http_client=trunkline.openai.async_http_client(lanes=True), max_retries=0)

async def ask(words):
    raw = await client.responses.with_raw_response.create(model="echo", input=words)
    return raw.parse().output_text, raw.headers["x-trunkline-mode"]

async def main():
    print(*await ask("before"))
    stream = await client.responses.create(model="echo", input="a b c d e f g h i j", stream=True)
    await anext(stream)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        print(*asyncio.run(in_child()))
        sys.stdout.flush()
        os._exit(0)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        await asyncio.sleep(0.01)
    print(len([event async for event in stream]))
    print(*await ask("after"))
    await client.close()

async def in_child():
    asked = await ask("in the child")
    await client.close()
    return asked

asyncio.run(main())
"""


def test_a_child_that_is_forked_in_a_running_loop_has_sockets_of_its_own(emulator: Any) -> None:
    environment = os.environ | {"OPENAI_API_KEY": emulator.api_key, "OPENAI_BASE_URL": emulator.base_url}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout.splitlines() == ["before full", "in the child full", "17", "after full"]
    assert len(emulator.connections) == 2
