from __future__ import annotations

import re

import pytest

from trunkline.cli.sample_tools import calculate, current_time


@pytest.mark.parametrize(
    ("expression", "value"),
    [("(17 + 4) * 2", "42"), ("-7 // 2", "-4"), ("7 / 2", "3.5"), (" 2**10 % 1000 ", "24"), ("+1.5", "1.5")],
)
async def test_arithmetic_is_calculated(expression: str, value: str) -> None:
    assert await calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "1 / 0",
        "2 +",
        "__import__('os')",
        "x",
        "True.real",
        "9**9**9**9",
        "10.0**1000",
        "(-8)**0.5",
        "~1",
        "'a'",
    ],
)
async def test_everything_else_is_told_to_the_model(expression: str) -> None:
    assert "has no value" in await calculate(expression)


async def test_work_is_bounded() -> None:
    assert "more than 200 characters" in await calculate("1+" * 100 + "1")
    assert "has no value" in await calculate("999**999*" * 10 + "1")


async def test_the_time_is_that_of_the_zone() -> None:
    assert re.fullmatch(r"\w+day \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", await current_time())
    assert (await current_time("Europe/Oslo")).endswith(" Europe/Oslo")


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", "", "Europe"])
async def test_a_zone_that_does_not_exist_is_told_to_the_model(zone: str) -> None:
    assert await current_time(zone) == f"{zone!r} is not a time zone"
