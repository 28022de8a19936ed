"""Threads for synchronous tools: a hung call blocks nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from trunkline.tools import FunctionTool, ToolThreads
from trunkline.tools.threads import ToolThreadsFull

from ..waiting import runs_briefly, soon, until


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Event that lets hung tools end; set after the test at the latest."""
    event = threading.Event()
    yield event
    event.set()
    for thread in hung_threads():
        thread.join(10)


async def give_up(threads: ToolThreads, release: threading.Event) -> None:
    """Start a call that hangs, and cancel its caller."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    await threads.room("hang")
    call = asyncio.ensure_future(threads.run("hang", hang, {}))
    await soon(begun.wait())
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


def hung_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trunkline-tool-hang"]


async def quick(threads: ToolThreads) -> int:
    await threads.room("quick")
    return await threads.run("quick", lambda number: number + 1, {"number": 1})


async def test_abandoned_calls_count_against_the_limit_until_they_end(release: threading.Event) -> None:
    threads = ToolThreads(limit=2)
    await give_up(threads, release)
    assert await quick(threads) == 2
    await give_up(threads, release)
    with pytest.raises(ToolThreadsFull, match=r"quick was not called: 2 calls .* still running in threads"):
        await soon(quick(threads))
    assert await quick(ToolThreads(limit=1)) == 2
    release.set()
    await until(lambda: not hung_threads(), "the hung calls have ended")
    assert await quick(threads) == 2


async def test_calls_beyond_the_limit_wait_for_running_calls(release: threading.Event) -> None:
    threads = ToolThreads(limit=3)
    running: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        running.append(number)
        most.append(len(running))
        release.wait()
        running.remove(number)
        return number

    async def call(number: int) -> int:
        await threads.room("work")
        return await threads.run("work", work, {"number": number})

    calls = asyncio.gather(*(call(number) for number in range(20)))
    await until(lambda: len(running) == 3, "the threads are full")
    release.set()
    assert await soon(calls) == list(range(20))
    assert max(most) == 3


async def test_hung_tools_leave_the_default_executor_alone(release: threading.Event) -> None:
    loop = asyncio.get_running_loop()
    threads = ToolThreads()
    for _ in range(32):  # as many as asyncio's executor has threads, at most
        await give_up(threads, release)
    assert await soon(asyncio.to_thread(int)) == 0
    assert await soon(loop.getaddrinfo("localhost", 80))


def test_a_thread_that_ends_after_its_loop_raises_nothing(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(give_up(ToolThreads(), release))
    (thread,) = hung_threads()
    release.set()
    thread.join(10)
    assert not thread.is_alive()
    assert caplog.records == []  # pytest turns an exception in a thread into an error of its own


async def test_a_failure_of_an_abandoned_call_is_logged(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_late() -> None:
        release.wait()
        raise LookupError("no such city")

    call = asyncio.ensure_future(ToolThreads().run("fail_late", fail_late, {}))
    await asyncio.sleep(0)
    call.cancel()
    release.set()
    await until(lambda: bool(caplog.records), "the failure is logged")
    (record,) = caplog.records
    assert "fail_late" in record.getMessage()
    assert "no such city" not in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


def test_a_hung_tool_does_not_keep_the_interpreter_alive() -> None:
    program = """
import asyncio, threading
from trunkline.tools import FunctionTool

def hang() -> None:
    threading.Event().wait()

print(asyncio.run(FunctionTool.of(hang).call("{}", timeout_s=0.05)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "took longer" in done.stdout


async def test_the_time_out_of_a_call_starts_when_it_has_a_thread(release: threading.Event) -> None:
    threads = ToolThreads(limit=1)
    begun = threading.Event()

    def hold() -> str:
        begun.set()
        release.wait()
        return "held"

    first = asyncio.ensure_future(FunctionTool.of(hold).call("{}", timeout_s=60, threads=threads))
    await until(begun.is_set, "the thread is taken")
    second = asyncio.ensure_future(
        FunctionTool.of(free).call("{}", timeout_s=runs_briefly(0.5), threads=threads)
    )
    await asyncio.sleep(runs_briefly(0.7))  # not a wait for something: the time-out has to pass
    assert not second.done()
    release.set()
    assert list(await soon(asyncio.gather(first, second))) == ["held", "free"]


def free() -> str:
    return "free"
