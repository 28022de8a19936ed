from __future__ import annotations

from trunkline.keyed import KeyedHistories


def test_a_key_has_one_history() -> None:
    histories = KeyedHistories(max_keys=2)
    assert histories.of("a") is histories.of("a")
    assert histories.of("a") is not histories.of("b")
    assert histories.of("a").owner is not histories.of("b").owner


def test_beyond_its_bound_the_least_recently_used_key_is_forgotten() -> None:
    histories = KeyedHistories(max_keys=2)
    first, second = histories.of("a"), histories.of("b")
    histories.of("a")
    histories.of("c")
    assert len(histories) == 2
    assert histories.of("a") is first
    assert histories.of("b") is not second


def test_a_forgotten_key_begins_again() -> None:
    histories = KeyedHistories(max_keys=2)
    history = histories.of("a")
    histories.forget("a")
    histories.forget("never used")
    assert len(histories) == 0
    assert histories.of("a") is not history
