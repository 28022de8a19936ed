from __future__ import annotations

import pytest

from trunkline import PoolLimits
from trunkline._protocol.history import History
from trunkline._protocol.items import items_of
from trunkline.emulator import Emulator, FakeClock
from trunkline.keyed import KeyedHistories, KeyedHistory

from .talk import client_of, read, user


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def histories_of(clock: FakeClock, **limits: float) -> KeyedHistories:
    return KeyedHistories(PoolLimits(**limits), clock)  # type: ignore[arg-type]


def used(histories: KeyedHistories, key: str, text: str) -> KeyedHistory:
    """The history of a key after a turn with this text."""
    history = histories.of(key)
    history.history = History.of(items_of([user(text)]))
    histories.count(history)
    return history


def known(histories: KeyedHistories, keys: str) -> str:
    return "".join(key for key in keys if histories.find(key) is not None)


def test_a_key_has_one_history(clock: FakeClock) -> None:
    histories = histories_of(clock)
    assert histories.of("a") is histories.of("a")
    assert histories.of("a") is not histories.of("b")
    assert histories.of("a").owner is not histories.of("b").owner


def test_beyond_its_bound_the_least_recently_used_key_is_forgotten(clock: FakeClock) -> None:
    histories = histories_of(clock, max_keys=2)
    first, second = histories.of("a"), histories.of("b")
    histories.of("a")
    histories.of("c")
    assert len(histories) == 2
    assert histories.of("a") is first
    assert histories.of("b") is not second


def test_a_forgotten_key_begins_again(clock: FakeClock) -> None:
    histories = histories_of(clock)
    history = histories.of("a")
    histories.forget("a")
    histories.forget("never used")
    assert len(histories) == 0
    assert histories.of("a") is not history


def test_histories_that_are_too_large_together_are_forgotten_from_the_least_recently_used(
    clock: FakeClock,
) -> None:
    histories = histories_of(clock, max_key_bytes=10_000)
    for key in "abc":
        used(histories, key, "x" * 3000)
    assert known(histories, "abc") == "abc"
    used(histories, "a", "x" * 3100)
    used(histories, "d", "x" * 6000)
    assert known(histories, "abcd") == "ad"
    used(histories, "e", "x" * 20_000)  # the key in use stays, whatever its size
    assert known(histories, "abcde") == "e"
    used(histories, "e", "x")
    used(histories, "a", "x" * 9000)
    assert known(histories, "ae") == "ae"
    histories.forget("a")
    used(histories, "b", "x" * 9000)
    assert known(histories, "be") == "be"


def test_a_key_that_is_not_used_is_forgotten_in_time(clock: FakeClock) -> None:
    histories = histories_of(clock, key_idle_s=60)
    histories.of("a")
    clock.now += 40
    histories.of("b")
    clock.now += 40
    histories.of("b")
    assert known(histories, "ab") == "b"
    clock.now += 60
    old = histories.find("b")
    assert histories.of("b") is old


@pytest.mark.parametrize("limits", [PoolLimits(max_key_bytes=1000), PoolLimits(key_idle_s=0.0)])
async def test_the_next_turn_of_a_forgotten_key_is_sent_in_full(
    emulator: Emulator, limits: PoolLimits
) -> None:
    """For ``max_key_bytes`` and ``key_idle_s``."""
    async with client_of(emulator, limits=limits) as client:
        for key in "aba":
            stream = await read(client.stream(model="echo", input=[user("x" * 2000)], key=key))
            assert stream.metrics.mode == "full"
