"""Bounds of the memory that servers and callers can take."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

import trunkline
from trunkline.emulator import Emulator
from trunkline.events import OutputTextDelta

from .scripted import completed, created, delta, event, message, talking
from .talk import ask, client_of, first_text, hold_after_first_word
from .waiting import soon, until


def ended(emulator: Emulator, client: trunkline.Client) -> bool:
    """Whether two answers were sent to their ends."""
    return sum(record.status == "completed" for record in emulator.responses.values()) == 2


def left(emulator: Emulator, client: trunkline.Client) -> bool:
    """Whether no request runs over HTTP."""
    return client.state().http == 0


# Streams that nobody reads.


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_large_events_that_nobody_reads_fail_their_stream_alone(
    emulator: Emulator, transport: str
) -> None:
    gate = hold_after_first_word(emulator)
    emulator.expect("many").says(f"{'x' * 1000} " * 300)
    client = client_of(emulator, transport=transport, max_buffered_bytes=50_000)
    async with client, client.conversation(model="echo").send("many") as stream:
        await first_text(stream)
        gate.open()
        assert len((await ask(client.conversation(model="words-100"), "go")).response.output_text) > 100
        done = ended if transport == "websocket" else left
        await until(lambda: done(emulator, client), "the answer was sent, or its connection closed")
        with pytest.raises(trunkline.SlowConsumer) as lost:
            await soon(stream.finish())
    assert 50_000 < lost.value.buffered_bytes < 200_000
    assert lost.value.buffered < 200
    assert lost.value.output_seen


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_stream_that_is_read_may_be_larger_than_its_buffer(transport: str) -> None:
    pieces = [delta("x" * 1_000_000) for _ in range(30)]
    final = completed(message("x" * 30_000_000))
    async with talking(transport, [created(), *pieces, final]) as (client, _):
        received = 0
        async with client.conversation(model="m").send("go") as stream:
            async for event in stream:
                received += len(event.delta) if isinstance(event, OutputTextDelta) else 0
        assert received == 30_000_000
        assert stream.has_response


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_large_events_without_output_are_the_fault_of_the_server(transport: str) -> None:
    events = [created(), *(event("noted", text="x" * 1_000_000) for _ in range(40))]
    async with talking(transport, events) as (client, _):
        with pytest.raises(trunkline.ProtocolViolation, match="bytes of a response and no output"):
            await soon(ask(client.conversation(model="m"), "go"))


# Failures of tasks in the background reach their turns.

WITHOUT_DESCRIPTORS = """
import asyncio, contextlib, os, resource, sys
import trunkline

async def main(url, key, transport):
    long = trunkline.Deadlines(connect=60, first_event=60)
    client = trunkline.Client(base_url=url, api_key=key, transport=transport, deadlines=long)
    chat = client.conversation(model="echo")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []

    def take_all():
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))

    async def keep_all():  # also those that become free meanwhile
        while True:
            take_all()
            await asyncio.sleep(0)

    take_all()
    keeping = asyncio.create_task(keep_all())
    try:
        brief = trunkline.Deadlines(connect=0.5, first_event=60)
        await chat.run("hello", deadlines=brief, policy=trunkline.Policy(max_attempts=2))
    except trunkline.TurnError as error:  # a deadline on a busy machine
        print("sent" if error.sent else "not sent")
    keeping.cancel()
    for descriptor in taken:
        os.close(descriptor)
    print((await chat.run("hello")).output_text)
    await client.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("transport", ["websocket", "http", "auto"])
async def test_a_turn_without_file_descriptors_fails_and_the_next_one_is_answered(
    emulator: Emulator, transport: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT_DESCRIPTORS, emulator.base_url, emulator.api_key or "k", transport),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, complaints = await soon(process.communicate())
    assert (told.decode(), process.returncode) == ("not sent\nhello\n", 0), complaints


async def test_a_turn_without_threads_fails_and_the_next_one_is_answered(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        client = client_of(emulator, transport="http", policy=trunkline.Policy(max_attempts=1))
        with pytest.raises(trunkline.ConnectFailed, match="cannot be prepared: RuntimeError") as failure:
            await ask(client.conversation(model="echo"), "hello")
        assert not failure.value.sent
    async with client:
        await ask(client.conversation(model="echo"), "hello")
