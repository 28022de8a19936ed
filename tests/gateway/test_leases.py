"""Leases of several replicas against the script of the ledger, in random interleavings."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.gateway.allowance import SOON_S
from trunkline.gateway.configuration import Shared
from trunkline.gateway.leases import Grant, LeasedAllowance, Limit

from .lua_ledger import LuaLedger

LEASE_S = 5.0
RENEW_S = 1.0
FLIGHT: Limit = "turns_in_flight"
MINUTE: Limit = "turns_per_minute"


class Replica:
    """A replica whose wishes and grants travel as the test lets them."""

    def __init__(self, name: str, in_flight: int | None, per_minute: int | None, **table: Any) -> None:
        self.name = name
        self.asks = 0
        shared = Shared("redis://valkey", lease_s=LEASE_S, **table)
        self.allowance = LeasedAllowance(in_flight, per_minute, shared, self._ask)
        self.calls = 0
        self.sent: list[tuple[float, int, Mapping[Limit, Any]]] = []
        self.answered: list[tuple[float, Mapping[Limit, Grant]]] = []

    def _ask(self) -> None:
        self.asks += 1

    def send(self, now: float) -> None:
        """Send wishes. A call before it whose answer has not come is given up."""
        self.calls += 1
        self.answered.clear()
        self.sent.append((now, self.calls, self.allowance.wishes(now)))

    def arrive(self, ledger: LuaLedger, which: int) -> None:
        """The ledger executes one of the calls that are on their way, in any order."""
        sent_at, call, wishes = self.sent.pop(which % len(self.sent))
        grants = ledger.renew(self.name, call, wishes)
        if call == self.calls:
            self.answered = [(sent_at, grants)]

    def hear(self) -> bool:
        """Take the answer to the last call, if it has come."""
        sent_at, grants = self.answered.pop()
        return self.allowance.grant(grants, sent_at)

    def renew(self, ledger: LuaLedger, now: float) -> bool:
        self.send(now)
        self.arrive(ledger, -1)
        return self.hear()

    def quota(self, limit: Limit, now: float) -> int:
        """The part that it may use by a lease."""
        lease = self.allowance.leases[limit]
        return lease.quota if lease.is_held and now < lease.until else 0


def settled(*replicas: Replica) -> tuple[LuaLedger, float]:
    """A ledger that has existed for long, and the time."""
    ledger, now = LuaLedger(LEASE_S), 0.0
    for _ in range(15):
        now += RENEW_S
        ledger.wall_s += RENEW_S
        for each in replicas:
            each.renew(ledger, now)
    return ledger, now


def after(ledger: LuaLedger, now: float, rounds: int, *replicas: Replica) -> float:
    """Renew all leases so many times, and those that have become smaller once more."""
    for _ in range(rounds):
        now += RENEW_S
        ledger.wall_s += RENEW_S
        for each in replicas:
            if each.renew(ledger, now):
                assert not each.renew(ledger, now)
    return now


def begin(replica: Replica, turns: int, now: float) -> int:
    """Try to begin turns. Return how many began."""
    return sum(replica.allowance.take(now) == 0 for _ in range(turns))


FAULTS = ("delays", "crashes", "steps", "amnesia")


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(2, 4), st.sets(st.sampled_from(FAULTS)))
def test_replicas_never_hold_more_than_the_limit(
    seed: int, limit: int, number: int, faults: set[str]
) -> None:
    """Wishes and grants are delayed, reordered and lost; replicas crash and start; Valkey forgets; its clock
    is set.
    """
    chance = random.Random(seed)
    replicas = [Replica(f"r{index}", limit, limit, when_down="refuse") for index in range(number)]
    ledger, now = settled(*replicas)
    stepped_at = [-100.0, -100.0]
    names = itertools.count()

    def exchange(replica: Replica) -> None:
        if "delays" not in faults or chance.random() < 0.5:
            replica.renew(ledger, now)
        elif replica.answered and chance.random() < 0.5:
            replica.hear()
        elif replica.sent and chance.random() < 0.7:
            replica.arrive(ledger, chance.randrange(len(replica.sent)))
        else:
            replica.send(now)

    def use(replica: Replica) -> None:
        begin(replica, chance.choice((1, limit // 2, limit + 1)), now)
        for _ in range(chance.choice((0, 1, 1)) * replica.allowance.running):
            replica.allowance.give_back()

    for _ in range(150):
        replica = chance.choice(replicas)
        for _ in range(chance.choice((1, 2, 3))):
            exchange(replica)
        if chance.random() < 0.5:
            use(replica)
        if chance.random() < 0.3:
            passed = chance.choice((0.2, 1.0, 1.0, 4.0))
            now += passed
            ledger.wall_s += passed
        if "crashes" in faults and chance.random() < 0.02:
            replicas[replicas.index(replica)] = Replica(f"s{next(names)}", limit, limit, when_down="refuse")
        if "amnesia" in faults and chance.random() < 0.02:
            ledger.lose_memory()
        # Twice within the life of a lease.
        if "steps" in faults and chance.random() < 0.1 and now - stepped_at[-2] > ledger.life_s:
            stepped_at.append(now)
            ledger.wall_s += chance.choice((-3600.0, -2.0, 2.0, 3600.0))
        for name in (FLIGHT, MINUTE):
            assert sum(each.quota(name, now) for each in replicas) <= limit


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 4))
def test_no_more_turns_run_or_begin_than_allowed(seed: int, limit: int, number: int) -> None:
    """Without a lease that expires, the turns of all replicas keep to both limits at each moment."""
    chance = random.Random(seed)
    ledger, now = LuaLedger(LEASE_S), 0.0
    replicas = [Replica(f"r{index}", limit, 2 * limit, when_down="refuse") for index in range(number)]
    begun: list[float] = []
    for _ in range(600):
        replica = chance.choice(replicas)
        if chance.random() < 0.6:
            begun += [now] * begin(replica, chance.randrange(4), now)
            for _ in range(chance.randrange(replica.allowance.running + 1)):
                replica.allowance.give_back()
        else:
            replica.renew(ledger, now)
            passed = chance.choice((0.0, 0.1, 0.3))
            now += passed
            ledger.wall_s += passed
            for each in replicas:  # none is without a renewal for long
                if now - (each.sent[-1][0] if each.sent else now) > RENEW_S:
                    each.renew(ledger, now)
        if all(now < lease.until for each in replicas for lease in each.allowance.leases.values()):
            assert sum(each.allowance.running for each in replicas) <= limit
        assert sum(now - at < 60 for at in begun) <= 2 * limit


def test_idle_replicas_have_equal_parts() -> None:
    replicas = [Replica(name, 400, 6000) for name in "abc"]
    _, now = settled(*replicas)
    assert sorted(each.quota(FLIGHT, now) for each in replicas) == [133, 133, 134]
    assert sum(each.quota(MINUTE, now) for each in replicas) == 6000


def test_a_replica_with_all_the_traffic_gets_nearly_all() -> None:
    busy, *idle = (Replica(name, 400, None) for name in "abc")
    ledger, now = settled(busy, *idle)
    begun = begin(busy, 1000, now)
    assert begun in (133, 134)
    assert busy.asks
    # One round to return what the others do not use, one to receive it.
    now = after(ledger, now, 2, busy, *idle)
    begun += begin(busy, 1000, now)
    assert begun == busy.quota(FLIGHT, now) >= 400 * 15 // 16
    assert all(each.quota(FLIGHT, now) >= 400 // 48 for each in idle)
    # It ends: the parts are equal again.
    for _ in range(begun):
        busy.allowance.give_back()
    now = after(ledger, now, 4, busy, *idle)
    assert max(each.quota(FLIGHT, now) for each in (busy, *idle)) <= 134


def test_two_busy_replicas_share_fairly() -> None:
    first, second = Replica("a", 100, None), Replica("b", 100, None)
    ledger, now = settled(first, second)
    begin(first, 1000, now)
    now = after(ledger, now, 3, first, second)
    begin(first, 1000, now)
    held = first.allowance.running
    assert held > 90
    begin(second, 1000, now)
    for _ in range(held):  # its turns end one after another, and it would begin others
        now = after(ledger, now, 1, first, second)
        first.allowance.give_back()
        begin(first, 1, now)
        begin(second, 1000, now)
    assert (first.allowance.running, second.allowance.running) == (50, 50)


def test_fewer_turns_than_replicas_go_where_the_traffic_is() -> None:
    replicas = [Replica(name, 1, None) for name in "abc"]
    ledger, now = settled(*replicas)
    for each in replicas:
        begun = begin(each, 1, now)
        for _ in range(7):
            now = after(ledger, now, 1, *replicas)
            begun += begin(each, 1, now)
        assert begun == 1
        each.allowance.give_back()
    now = after(ledger, now, 3, *replicas)
    assert sum(each.quota(FLIGHT, now) for each in replicas) == 1


def test_fewer_turns_than_busy_replicas_go_round() -> None:
    replicas = [Replica(name, 1, None) for name in "abc"]
    ledger, now = settled(*replicas)
    turns = dict.fromkeys("abc", 0)
    for _ in range(120):
        for each in replicas:
            turns[each.name] += begin(each, 1, now)
        assert sum(each.allowance.running for each in replicas) <= 1
        for each in replicas:
            if each.allowance.running:
                each.allowance.give_back()
        now = after(ledger, now, 1, *replicas)
    assert min(turns.values()) > 10, turns


def test_the_quota_of_a_killed_replica_returns() -> None:
    dead, living = Replica("a", 100, None), Replica("b", 100, None)
    ledger, now = settled(dead, living)
    begin(dead, 1000, now)
    now = after(ledger, now, 3, dead, living)
    assert begin(dead, 1000, now) > 40
    assert 1 <= living.quota(FLIGHT, now) < 10
    rounds = 0
    while living.quota(FLIGHT, now) < 100:
        now = after(ledger, now, 1, living)
        rounds += 1
    assert ledger.life_s <= rounds * RENEW_S <= ledger.life_s + 2


def test_the_minute_of_a_killed_replica_counts_to_its_end() -> None:
    dead, living = Replica("a", None, 100), Replica("b", None, 100)
    ledger, now = settled(dead, living)
    assert begin(dead, 30, now) == 30
    now = after(ledger, now, 1, dead, living)
    died_at = now
    now = after(ledger, now, 12, living)
    assert living.quota(MINUTE, now) == 70
    while living.quota(MINUTE, now) < 100:
        now = after(ledger, now, 1, living)
    assert 59 <= now - died_at <= 62


def test_a_replica_that_leaves_returns_its_quota_at_once() -> None:
    leaving, staying = Replica("a", 100, 100), Replica("b", 100, 100)
    ledger, now = settled(leaving, staying)
    assert begin(leaving, 30, now) == 30
    for _ in range(30):
        leaving.allowance.give_back()
    ledger.renew("a", leaving.calls + 1, leaving.allowance.wishes(now, leaves=True))
    now = after(ledger, now, 1, staying)
    assert (staying.quota(FLIGHT, now), staying.quota(MINUTE, now)) == (100, 70)
    now = after(ledger, now, 61, staying)
    assert staying.quota(MINUTE, now) == 100


@pytest.mark.parametrize(("when_down", "own"), [("own_limits", 33), ("refuse", 0)])
def test_without_an_answer_the_lease_holds_and_then_the_own_part(when_down: str, own: int) -> None:
    replicas = [Replica(name, 100, None, when_down=when_down) for name in "abc"]
    _, now = settled(*replicas)
    first = replicas[0]
    leased = first.quota(FLIGHT, now)
    now += LEASE_S - 0.001
    assert begin(first, 20, now) == 20
    now += 0.001
    assert begin(first, 1000, now) == max(0, own - 20)
    assert first.allowance.take(now) == SOON_S
    assert first.allowance.is_suspended == (when_down == "refuse")
    assert leased >= 33


def test_the_own_part_uses_the_larger_number_of_replicas() -> None:
    found = Replica("a", 100, None, replicas=4)
    assert begin(found, 1000, 0.0) == 25
    small = Replica("a", 2, None, replicas=4)
    assert begin(small, 1000, 0.0) == 1
    alone = Replica("a", 100, None)
    assert begin(alone, 1000, 0.0) == 100


@pytest.mark.parametrize("when_down", ["own_limits", "refuse"])
def test_a_ledger_without_memory_confirms_leases_and_grants_none(when_down: str) -> None:
    busy, idle = (Replica(name, 100, None, when_down=when_down) for name in "ab")
    ledger, now = settled(busy, idle)
    begin(busy, 1000, now)
    now = after(ledger, now, 3, busy, idle)
    held = busy.quota(FLIGHT, now)
    assert held > 90
    ledger.lose_memory()
    new = Replica("new", 100, None, when_down=when_down)
    now = after(ledger, now, 5, idle, new, busy)
    assert busy.quota(FLIGHT, now) == held
    assert new.quota(FLIGHT, now) == 0
    assert begin(new, 1000, now) == (33 if when_down == "own_limits" else 0)
    now = after(ledger, now, 10, idle, new, busy)
    assert busy.quota(FLIGHT, now) + idle.quota(FLIGHT, now) + new.quota(FLIGHT, now) <= 100
    assert new.quota(FLIGHT, now) > 0


def test_an_older_call_changes_nothing() -> None:
    first, second = Replica("a", 100, None), Replica("b", 100, None)
    ledger, now = settled(first, second)
    first.send(now)  # with a small quota, delayed
    begin(first, 1000, now)
    now = after(ledger, now, 3, second)
    first.send(now)
    first.arrive(ledger, -1)
    first.hear()
    before = {name: dict(fields) for name, fields in ledger.hashes.items()}
    first.arrive(ledger, 0)
    assert ledger.hashes == before
    assert not first.answered


def test_the_wait_that_is_named() -> None:
    first, second = Replica("a", None, 10), Replica("b", None, 10)
    ledger, now = settled(first, second)
    assert begin(first, 5, now) == 5
    # The other one holds some that it does not use.
    assert first.allowance.take(now) == SOON_S
    now = after(ledger, now, 3, first, second)
    assert begin(first, 10, now) == 5
    now = after(ledger, now, 1, first, second)
    # All are used: the first turn of the window is the first to end.
    assert first.allowance.take(now) == pytest.approx(60 - 4)


def test_refusals_ask_for_more_and_turns_on_a_small_rest_too() -> None:
    first, second = Replica("a", 100, None), Replica("b", 100, None)
    ledger, now = settled(first, second)
    before = first.asks
    assert begin(first, 37, now) == 37
    assert first.asks == before
    assert begin(first, 13, now) == 13
    assert first.asks == before + 1
    first.allowance.take(now)
    assert first.asks == before + 2
    assert ledger.hashes


def test_no_limits_and_the_first_turn() -> None:
    free = Replica("a", None, None)
    assert begin(free, 1000, 0.0) == 1000
    assert free.asks == 1
    assert not free.allowance.wishes(0.0)
