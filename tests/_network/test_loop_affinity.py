from __future__ import annotations

import asyncio

import pytest

from trunkline._network.loop_affinity import LoopAffinity
from trunkline.errors import WrongEventLoop


def test_it_is_bound_to_the_loop_in_which_it_is_first_checked() -> None:
    bound: list[str] = []
    affinity = LoopAffinity(lambda: bound.append("bound"))
    assert not affinity.is_stopped

    async def check_twice() -> None:
        affinity.check()
        affinity.check()
        assert not affinity.is_stopped

    asyncio.run(check_twice())
    assert bound == ["bound"]
    assert affinity.is_stopped

    async def check_elsewhere() -> None:
        with pytest.raises(WrongEventLoop, match="one client for each loop"):
            affinity.check()

    asyncio.run(check_elsewhere())
    assert bound == ["bound"]


def test_without_a_running_loop_nothing_is_bound() -> None:
    bound: list[str] = []
    with pytest.raises(RuntimeError):
        LoopAffinity(lambda: bound.append("bound")).check()
    assert bound == []
