"""docs/timeouts.md has each setting with its default."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, Policy, PoolLimits

PAGE = Path(__file__).parents[1] / "docs" / "timeouts.md"
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<default>[^|]+) \|.*\| (?P<per_turn>yes|no) \|$", re.MULTILINE)
ROWS = {row["name"]: row for row in ROW.finditer(PAGE.read_text())}
OF_CONNECTIONS = ("ping", "doubt", "dead", "keepalive", "unsent", "drain", "max_age", "age", "upkeep")
"""The beginnings of the names in `PoolLimits` that are times and bounds of connections."""


def settings() -> dict[str, Any]:
    given: dict[str, Any] = {}
    for kind in (Deadlines, Policy, PoolLimits):
        for field in fields(kind):
            if kind is not PoolLimits or field.name.startswith(OF_CONNECTIONS):
                given[f"{kind.__name__}.{field.name}"] = field.default
    interval = inspect.signature(trunkline.Client).parameters["ping_interval_s"]
    return given | {"Client(ping_interval_s=…)": interval.default}


def test_the_table_has_all_settings() -> None:
    assert set(ROWS) == set(settings())


@pytest.mark.parametrize("name", settings())
def test_each_default_is_that_of_the_code(name: str) -> None:
    default = settings()[name]
    shown = str(default) if isinstance(default, bool) else f"{default:g}"
    assert ROWS[name]["default"].strip() == shown


@pytest.mark.parametrize("name", settings())
def test_turns_may_have_their_own_deadlines_and_policy(name: str) -> None:
    kind = name.partition(".")[0].lower()
    accepted = inspect.signature(trunkline.Client.stream).parameters
    assert ROWS[name]["per_turn"] == ("yes" if kind in accepted else "no")
