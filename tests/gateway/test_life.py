from __future__ import annotations

import asyncio

import pytest

from trunkline.gateway.configuration import Drain
from trunkline.gateway.life import Cut, Life, Stage

from ..waiting import soon, until


async def test_without_answers_the_end_comes_after_the_notice() -> None:
    life = Life(Drain(notice_s=0.01, within_s=60))
    assert life.is_ready
    await soon(life.drain())
    assert life.stage is Stage.ENDED


async def test_answers_may_end() -> None:
    life = Life(Drain(notice_s=0, within_s=60))
    life.begin()
    life.begin()
    drain = asyncio.create_task(life.drain())
    await until(lambda: life.stage is Stage.DRAINING, "it drains")
    assert not life.takes_work
    life.end()
    life.end()
    await soon(drain)


async def test_answers_that_take_too_long_are_cut() -> None:
    life = Life(Drain(notice_s=0, within_s=0.01))
    life.begin()
    await soon(life.drain())
    assert life.stage is Stage.ENDED


async def test_a_cut_ends_the_notice_and_the_drain() -> None:
    life = Life(Drain(notice_s=3600, within_s=3600))
    life.begin()
    drain = asyncio.create_task(life.drain())
    await until(lambda: life.stage is Stage.NOTICE, "notice is given")
    assert life.takes_work
    life.cut()
    life.cut()
    await soon(drain)
    assert life.stage is Stage.ENDED


async def run_until_cut(life: Life, begun: asyncio.Event) -> None:
    with life.until_cut():
        begun.set()
        await asyncio.Event().wait()


async def test_a_cut_ends_running_blocks_and_those_that_begin_later() -> None:
    life = Life(Drain(notice_s=0, within_s=60))
    begun = asyncio.Event()
    running = asyncio.create_task(run_until_cut(life, begun))
    with life.until_cut():
        await soon(begun.wait())
    life.cut()
    with pytest.raises(Cut):
        await soon(running)
    assert not running.cancelling()
    with pytest.raises(Cut):
        await soon(run_until_cut(life, begun))


async def test_a_block_that_was_cancelled_as_well_stays_cancelled() -> None:
    life = Life(Drain(notice_s=0, within_s=60))
    begun = asyncio.Event()
    running = asyncio.create_task(run_until_cut(life, begun))
    await soon(begun.wait())
    running.cancel()
    life.cut()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)


async def test_the_drain_waits_for_the_errors_of_answers_that_were_cut() -> None:
    life = Life(Drain(notice_s=0, within_s=0.01))
    life.begin()
    drain = asyncio.create_task(life.drain())
    await until(lambda: life.stage is Stage.ENDED, "the time is over")
    assert not drain.done()
    life.end()
    await soon(drain)
