from __future__ import annotations

import asyncio
import inspect
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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


def press_control_c_when(started: threading.Event) -> None:
    started.wait()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Waiting:
    """A coroutine that waits until it is cancelled and then takes a moment to clean up."""

    def __init__(self) -> None:
        self.started, self.cleaned = threading.Event(), threading.Event()

    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.01)
            self.cleaned.set()


def test_control_c_cancels_and_waits_for_the_end() -> None:
    waiting = Waiting()
    with LoopThread() as loop, control_c_interrupts():
        thread = threading.Thread(target=press_control_c_when, args=[waiting.started])
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            loop.run(waiting.wait())
        thread.join()
        assert waiting.cleaned.is_set()


@pytest.mark.parametrize("moment", ["call", "return"])
def test_control_c_while_the_loop_is_asked_leaves_nothing_running(moment: str) -> None:
    waiting = Waiting()

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        if event == moment and frame.f_code.co_name == "call_soon_threadsafe":
            sys.setprofile(None)
            if moment == "return":
                waiting.started.wait()
            raise KeyboardInterrupt

    with LoopThread() as loop:
        coroutine = waiting.wait()
        sys.setprofile(interrupt)
        with pytest.raises(KeyboardInterrupt):
            loop.run(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert waiting.cleaned.is_set() is (moment == "return")
