"""When WebSocket is tried again: pure, on a clock of the test's own."""

from __future__ import annotations

from trunkline._decisions.breaker import Breaker


def test_it_is_closed_until_something_fails() -> None:
    breaker = Breaker()
    assert breaker.is_closed
    assert not breaker.should_probe(1e9), "there is nothing to try"
    breaker.failed(0.0)
    assert not breaker.is_closed


def test_while_it_is_open_nothing_is_tried_before_its_time() -> None:
    breaker = Breaker(cool_s=10)
    breaker.failed(100.0)
    assert [breaker.should_probe(at) for at in (100.0, 109.9)] == [False, False]
    assert breaker.should_probe(110.0)


def test_one_is_tried_at_a_time() -> None:
    breaker = Breaker(cool_s=10)
    breaker.failed(0.0)
    assert [breaker.should_probe(20.0) for _ in range(3)] == [True, False, False]


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker = Breaker(cool_s=10)
    breaker.failed(0.0)
    assert breaker.should_probe(10.0)
    breaker.succeeded()
    assert breaker.is_closed
    breaker.failed(50.0)
    assert breaker.should_probe(60.0), "after a success it waits as short as at first"


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    breaker = Breaker(cool_s=10, longest_s=35)
    now = 0.0
    breaker.failed(now)
    for wait_s in (10, 20, 35, 35, 35):
        assert not breaker.should_probe(now + wait_s - 0.1)
        now += wait_s
        assert breaker.should_probe(now)
        breaker.failed(now)


def test_many_failures_at_once_count_as_one() -> None:
    breaker = Breaker(cool_s=10)
    for _ in range(100):
        breaker.failed(0.0)
    assert breaker.should_probe(10.0)


def test_it_is_never_open_for_ever() -> None:
    breaker = Breaker(cool_s=10, longest_s=300)
    now = 0.0
    breaker.failed(now)
    for _ in range(2000):
        now += 300
        assert breaker.should_probe(now)
        breaker.failed(now)


def test_its_repr_tells_the_state() -> None:
    breaker = Breaker(cool_s=10)
    shown = [repr(breaker)]
    breaker.failed(0.0)
    shown.append(repr(breaker))
    breaker.should_probe(10.0)
    shown.append(repr(breaker))
    assert shown == ["<Breaker: closed>", "<Breaker: open>", "<Breaker: half-open>"]
