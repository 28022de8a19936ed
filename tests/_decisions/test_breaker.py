"""Probes of WebSocket after a failure, with the time as an argument."""

from __future__ import annotations

from trunkline._decisions.breaker import Breaker


def test_a_breaker_is_closed_until_a_failure() -> None:
    breaker = Breaker()
    assert breaker.is_closed
    assert not breaker.should_probe(1e9), "a closed breaker needs no probe"
    breaker.failed(0.0)
    assert not breaker.is_closed


def test_an_open_breaker_probes_only_after_its_cooling_time() -> None:
    breaker = Breaker(cool_s=10)
    breaker.failed(100.0)
    assert [breaker.should_probe(at) for at in (100.0, 109.9)] == [False, False]
    assert breaker.should_probe(110.0)


def test_one_probe_runs_at_a_time() -> None:
    breaker = Breaker(cool_s=10)
    breaker.failed(0.0)
    assert [breaker.should_probe(20.0) for _ in range(3)] == [True, False, False]


def test_a_successful_probe_closes_the_breaker() -> None:
    breaker = Breaker(cool_s=10)
    breaker.failed(0.0)
    assert breaker.should_probe(10.0)
    breaker.succeeded()
    assert breaker.is_closed
    breaker.failed(50.0)
    assert breaker.should_probe(60.0), "after a success the wait is as short as at first"


def test_a_failed_probe_doubles_the_wait_up_to_a_bound() -> None:
    breaker = Breaker(cool_s=10, longest_s=35)
    now = 0.0
    breaker.failed(now)
    for wait_s in (10, 20, 35, 35, 35):
        assert not breaker.should_probe(now + wait_s - 0.1)
        now += wait_s
        assert breaker.should_probe(now)
        breaker.failed(now)


def test_concurrent_failures_count_as_one() -> None:
    breaker = Breaker(cool_s=10)
    for _ in range(100):
        breaker.failed(0.0)
    assert breaker.should_probe(10.0)


def test_probes_never_stop() -> None:
    breaker = Breaker(cool_s=10, longest_s=300)
    now = 0.0
    breaker.failed(now)
    for _ in range(2000):
        now += 300
        assert breaker.should_probe(now)
        breaker.failed(now)


def test_its_repr_shows_the_state() -> None:
    breaker = Breaker(cool_s=10)
    shown = [repr(breaker)]
    breaker.failed(0.0)
    shown.append(repr(breaker))
    breaker.should_probe(10.0)
    shown.append(repr(breaker))
    assert shown == ["<Breaker: closed>", "<Breaker: open>", "<Breaker: probing>"]


def test_an_opened_connection_is_a_trial_until_it_has_brought_a_response() -> None:
    breaker = Breaker(cool_s=10)
    breaker.opened()
    assert breaker.is_settled
    breaker.failed(0.0)
    assert breaker.should_probe(10.0)
    breaker.opened()
    assert (breaker.is_closed, breaker.is_settled) == (True, False)
    breaker.failed(10.0)
    assert not breaker.should_probe(29.0), "the second wait is longer"
    assert breaker.should_probe(30.0)
    breaker.opened()
    breaker.succeeded()
    assert breaker.is_settled
