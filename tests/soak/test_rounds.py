"""Rounds are reported in order, without gaps, and end the soak when they fail."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from .figures import Figures
from .rounds import AT_ONCE, Ended, Play, RoundFailed, Rounds


def rounds(play: Play, **changes: Any) -> tuple[Rounds, list[Ended]]:
    reported: list[Ended] = []
    given: dict[str, Any] = {"seed": 1, "first": 0, "turns": 100, "until": None, "worlds": 4, "per_range": 3}
    return Rounds(play=play, report=reported.append, **(given | changes)), reported


async def ten_turns(seed: int, number: int) -> Figures:
    for _ in range(7 - number % 7):  # so that rounds end in another order than they begin
        await asyncio.sleep(0)
    return Figures(turns=10)


async def test_ranges_are_reported_in_order() -> None:
    soak, reported = rounds(ten_turns, first=5)
    await soak.run()
    assert [(ended.first, ended.last) for ended in reported] == [(5, 7), (8, 10), (11, 13), (14, 14)]
    assert [ended.figures.turns for ended in reported] == [30, 30, 30, 10]


async def test_no_round_begins_after_the_time() -> None:
    soak, reported = rounds(ten_turns, until=time.monotonic() - 1)
    await soak.run()
    assert reported == []


async def test_the_number_of_worlds_is_bounded() -> None:
    running, most = 0, 0

    async def play(seed: int, number: int) -> Figures:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Figures(turns=1)

    soak, _ = rounds(play, worlds=3, turns=1000)
    await soak.run()
    assert most == 3


async def test_no_round_is_added_while_the_event_loop_is_late() -> None:
    running, most = 0, 0

    async def play(seed: int, number: int) -> Figures:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        soak.late_s = 1e6
        running -= 1
        return Figures(turns=100)

    soak, _ = rounds(play, turns=700, worlds=20)
    await soak.run()
    assert most == AT_ONCE


async def test_an_exception_of_a_round_ends_the_soak_with_its_number() -> None:
    async def play(seed: int, number: int) -> Figures:
        if number == 4:
            raise KeyError("no such response")
        return await ten_turns(seed, number)

    soak, reported = rounds(play)
    with pytest.raises(RoundFailed, match="round 4 of seed 1 raised KeyError"):
        await soak.run()
    assert [ended.last for ended in reported] in ([], [2])


async def test_a_round_that_does_not_end_ends_the_soak() -> None:
    async def play(seed: int, number: int) -> Figures:
        await asyncio.Event().wait()
        return Figures()

    soak, _ = rounds(play, limit_s=0.0, look_every_s=0.01)
    with pytest.raises(RoundFailed, match="did not end within 0 s"):
        await soak.run()


async def test_an_exception_that_is_not_handled_ends_the_soak() -> None:
    def divide() -> None:
        raise ZeroDivisionError

    async def play(seed: int, number: int) -> Figures:
        asyncio.get_running_loop().call_soon(divide)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return Figures(turns=1)

    soak, _ = rounds(play)
    with pytest.raises(RoundFailed, match="ZeroDivisionError"):
        await soak.run()
