from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trunkline.cli.loop_thread import LoopThread


def test_a_coroutine_runs_in_the_loops_thread_and_its_result_comes_back() -> None:
    async def where() -> threading.Thread:
        return threading.current_thread()

    with LoopThread() as loop:
        assert loop.run(where()) is not threading.current_thread()


def test_what_a_coroutine_raises_comes_back() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with LoopThread() as loop, pytest.raises(ValueError, match="broken"):
        loop.run(fail())


def test_the_loop_goes_on_between_runs() -> None:
    async def begin() -> asyncio.Task[str]:
        return asyncio.create_task(asyncio.sleep(0, "done"))

    async def result(task: asyncio.Task[str]) -> str:
        return await task

    with LoopThread() as loop:
        assert loop.run(result(loop.run(begin()))) == "done"


@contextmanager
def control_c_interrupts() -> Iterator[None]:
    """SIGINT raises `KeyboardInterrupt` in the main thread, also where a test runner ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_control_c_cancels_and_waits_for_the_end() -> None:
    started, cleaned = threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    def press_control_c() -> None:
        started.wait()
        signal.raise_signal(signal.SIGINT)  # Python calls the handler in the main thread

    with LoopThread() as loop, control_c_interrupts():
        threading.Thread(target=press_control_c).start()
        with pytest.raises(KeyboardInterrupt):
            loop.run(wait())
        assert cleaned.is_set()
