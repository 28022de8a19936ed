from __future__ import annotations

from collections import Counter

import pytest

from trunkline._observe.metrics import PoolCounters
from trunkline._observe.removals import WARNING_INTERVAL_S, Removals
from trunkline.emulator import FakeClock

MODEL = {"id": "rs_1", "type": "reasoning", "action": "removed", "reason": "model_mismatch"}
PREFIX = {"id": "rs_2", "type": "reasoning", "action": "removed", "reason": "prefix_mismatch"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> PoolCounters:
    return PoolCounters()


@pytest.fixture
def removals(counters: PoolCounters, clock: FakeClock) -> Removals:
    return Removals(counters, clock)


def test_removals_are_counted_by_reason(removals: Removals, counters: PoolCounters) -> None:
    removals.note([PREFIX, MODEL, PREFIX])
    removals.note([PREFIX])
    assert counters.snapshot().removed_reasoning == Counter(prefix_mismatch=3, model_mismatch=1)


def test_one_warning_is_logged_within_the_interval_and_the_next_one_has_the_rest(
    removals: Removals, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    removals.note([PREFIX])
    removals.note([PREFIX, MODEL])
    clock.advance(WARNING_INTERVAL_S - 1)
    removals.note([MODEL])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "removed 1 reasoning item from the context (prefix_mismatch: 1); to keep" in caplog.text
    clock.advance(1)
    removals.note([MODEL])
    assert len(caplog.records) == 2
    told = caplog.records[1].getMessage()
    assert "removed 4 reasoning items from the context (model_mismatch: 3, prefix_mismatch: 1)" in told


def test_nothing_is_logged_without_a_removal(
    removals: Removals, counters: PoolCounters, caplog: pytest.LogCaptureFixture
) -> None:
    removals.note([])
    assert caplog.records == []
    assert not counters.snapshot().removed_reasoning


def test_a_removal_without_a_reason_is_counted(removals: Removals, counters: PoolCounters) -> None:
    removals.note([{"id": "rs_1"}])
    assert counters.snapshot().removed_reasoning == Counter({"None": 1})
