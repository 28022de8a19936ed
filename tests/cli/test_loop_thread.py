from __future__ import annotations

import asyncio
import threading

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


def test_control_c_cancels_and_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    started, cleaned = threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    waits = iter([started, None])

    def interrupted(ended: threading.Event) -> None:
        first = next(waits)
        if first is not None:
            first.wait()
            raise KeyboardInterrupt
        ended.wait()

    monkeypatch.setattr("trunkline.cli.loop_thread._wait", interrupted)
    with LoopThread() as loop:
        with pytest.raises(KeyboardInterrupt):
            loop.run(wait())
        assert cleaned.is_set()
