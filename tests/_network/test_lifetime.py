"""A client that is dropped and not closed: one warning, and its sockets, timers and tasks end."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import warnings
from typing import Any

import pytest

import trunkline
from trunkline._network.pool import Pool
from trunkline.emulator import Emulator

from ..talk import ask, client_of, first_text, texts
from ..waiting import soon, until

FORGOTTEN = r"trunkline\.Client of 127\.0\.0\.1:\d+ was not closed: use it as `async with"


def drop(box: list[Any]) -> None:
    """Drop what the box holds, and see that it warns once."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        box.clear()
        gc.collect()
    assert [bool(re.search(FORGOTTEN, str(each.message))) for each in seen] == [True]


async def no_socket(emulator: Emulator) -> None:
    await until(lambda: not emulator.live_connections, "its sockets end")


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_one_that_is_dropped_after_use_ends(emulator: Emulator, transport: str) -> None:
    box = [client_of(emulator, transport=transport)]
    await ask(box[0].conversation(model="echo"), "hello")
    drop(box)
    await no_socket(emulator)


async def test_dropping_needs_no_garbage_collector(emulator: Emulator) -> None:
    gc.disable()
    try:
        box = [client_of(emulator)]
        await ask(box[0].conversation(model="echo"), "hello")
        with pytest.warns(ResourceWarning, match=FORGOTTEN):
            box.clear()
        await no_socket(emulator)
    finally:
        gc.enable()


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_conversation_keeps_it(emulator: Emulator, transport: str) -> None:
    client = client_of(emulator, transport=transport)
    box = [client.conversation(model="echo")]
    del client
    gc.collect()
    await box[0].run("hello")
    gc.collect()
    await box[0].run("again")
    assert texts(box[0].items) == ["user: hello", "assistant: hello", "user: again", "assistant: again"]
    drop(box)
    await no_socket(emulator)


async def test_a_stream_keeps_it(emulator: Emulator) -> None:
    client = client_of(emulator)
    stream = client.stream(model="words-20", input="hello")
    del client
    async with stream:
        async for _ in stream:
            gc.collect(0)
    assert stream.response.status == "completed"
    box = [stream]
    del stream
    drop(box)
    await no_socket(emulator)


async def test_a_task_that_waits_for_the_dial_keeps_it(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", times=None)
    before = asyncio.all_tasks()
    box = [asyncio.create_task(client_of(emulator).warm(model="echo"))]
    await until(lambda: emulator.handshakes == 1, "it dials")
    gc.collect()
    box[0].cancel()
    await soon(asyncio.wait(box))
    drop(box)
    await until(lambda: asyncio.all_tasks() == before, "the dial is given up")


async def test_one_that_was_closed_or_never_used_is_silent(emulator: Emulator) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        client_of(emulator)
        client_of(emulator).conversation(model="echo").send("never sent")
        async with client_of(emulator) as client:
            await ask(client.conversation(model="echo"), "hello")
        del client
        gc.collect()
    assert [str(each.message) for each in seen] == []


async def test_one_that_is_dropped_in_another_thread_ends_in_its_own(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = [client_of(emulator)]
    await ask(box[0].conversation(model="echo"), "hello")
    loop, end = asyncio.get_running_loop(), Pool.end
    ends: list[threading.Thread] = []

    def recorded(pool: Pool) -> None:
        ends.append(threading.current_thread())
        end(pool)

    monkeypatch.setattr(Pool, "end", recorded)
    with pytest.warns(ResourceWarning, match=FORGOTTEN):
        await loop.run_in_executor(None, box.clear)
    await no_socket(emulator)
    assert ends == [threading.current_thread()]


async def test_closing_that_is_cancelled_drops_the_sockets(emulator: Emulator) -> None:
    emulator.faults.add("slow_read")
    client = client_of(emulator)
    await ask(client.conversation(model="echo"), "hello")
    closing = asyncio.create_task(client.close(60))
    await until(lambda: client.connections == 0, "it closes")
    assert client.state().sockets == 1
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(closing)
    assert client.state().sockets == 0


def test_closing_after_the_loop_was_closed_ends_it(emulator_in_thread: Emulator) -> None:
    client = client_of(emulator_in_thread)
    asyncio.run(_begin(client))
    asyncio.run(client.close())
    with pytest.raises(trunkline.ClientClosed):
        asyncio.run(client.warm(model="echo"))


async def _begin(client: trunkline.Client) -> None:
    async with client.conversation(model="words-20").send("hello") as stream:
        await first_text(stream)


@pytest.fixture
def emulator_in_thread() -> Any:
    with Emulator().run_in_thread() as running:
        yield running
