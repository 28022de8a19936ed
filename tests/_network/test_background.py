"""Tasks that the library starts, and event loops that end under them."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from trunkline._network.background import (
    Unstoppable,
    bury_the_dead,
    call_in,
    cancel,
    ended,
    in_background,
    running_loop,
)

from ..waiting import soon


async def started(work: Any) -> asyncio.Task[Any]:
    task = in_background(work, "test")
    await asyncio.sleep(0)
    return task


async def waits(ends: list[str], awaits: int = 1) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        for _ in range(awaits):
            await asyncio.sleep(0)
        ends.append("ended")


def in_a_loop_that_is_closed(work: Any) -> asyncio.Task[Any]:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(started(work))
    finally:
        loop.close()


def test_a_task_of_a_closed_loop_is_ended_silently(caplog: pytest.LogCaptureFixture) -> None:
    ends: list[str] = []
    task = in_a_loop_that_is_closed(waits(ends))
    bury_the_dead()
    assert task.get_coro().cr_frame is None  # type: ignore[union-attr]
    del task
    gc.collect()
    assert caplog.messages == []


def test_its_clean_up_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            asyncio.get_running_loop()

    task = in_a_loop_that_is_closed(fails())
    bury_the_dead()
    del task
    gc.collect()
    assert caplog.messages == []


async def test_a_task_of_a_loop_that_runs_is_left_alone() -> None:
    task = await started(asyncio.sleep(0.01, "done"))
    bury_the_dead()
    assert await soon(task) == "done"


def test_a_task_of_a_closed_loop_can_be_cancelled_in_vain() -> None:
    ends: list[str] = []
    task = in_a_loop_that_is_closed(waits(ends))
    cancel([task])
    asyncio.run(ended([task]))
    assert not task.done()
    bury_the_dead()


async def test_ended_waits_for_the_clean_up_of_all() -> None:
    ends: list[str] = []
    tasks = [await started(waits(ends)), await started(waits(ends, awaits=3))]
    cancel(tasks)
    await ended(tasks)
    assert ends == ["ended", "ended"]


async def test_a_clean_up_runs_though_it_is_cancelled_before_its_first_step() -> None:
    ends: list[str] = []

    async def clean_up() -> None:
        await asyncio.sleep(0)
        ends.append("cleaned up")

    task = in_background(Unstoppable(clean_up()), "test")
    task.cancel()
    await soon(task)
    assert ends == ["cleaned up"]


async def test_a_clean_up_that_has_begun_can_be_cancelled() -> None:
    task = await started(Unstoppable(asyncio.sleep(60)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_a_call_into_its_own_loop_is_made_at_once() -> None:
    calls: list[int] = []
    call_in(asyncio.get_running_loop(), lambda: calls.append(threading.get_ident()))
    assert calls == [threading.get_ident()]


async def test_a_call_from_another_thread_is_made_in_that_of_the_loop() -> None:
    called = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(call_in, loop, lambda: called.set_result(threading.get_ident()))
    assert await soon(called) == threading.get_ident()


def test_a_call_into_a_loop_that_does_not_run_is_made_at_once() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    calls: list[str] = []
    call_in(loop, lambda: calls.append("called"))
    assert calls == ["called"]
    assert running_loop() is None


async def test_its_clean_up_does_not_take_the_loop_that_runs_now_for_its_own() -> None:
    loops: list[asyncio.AbstractEventLoop | None] = []

    async def looks() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            loops.append(running_loop())

    await asyncio.to_thread(in_a_loop_that_is_closed, looks())
    bury_the_dead()
    assert loops == [None]
    assert running_loop() is not None
