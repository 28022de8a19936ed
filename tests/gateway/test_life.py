from __future__ import annotations

import asyncio

from trunkline.gateway.configuration import Drain
from trunkline.gateway.life import Life, Stage

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
