from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.allowance import SOON_S, WINDOW_S, Allowance


def test_turns_at_a_time_are_bounded() -> None:
    allowance = Allowance(2, None)
    assert [allowance.take(0.0) for _ in range(3)] == [0.0, 0.0, SOON_S]
    allowance.give_back()
    assert allowance.take(0.0) == 0.0
    assert allowance.running == 2


def test_no_limits() -> None:
    allowance = Allowance(None, None)
    assert {allowance.take(0.0) for _ in range(1000)} == {0.0}


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_turns_than_allowed(gaps: list[float], per_minute: int) -> None:
    allowance, now, begun = Allowance(None, per_minute), 0.0, []
    for gap in gaps:
        now += gap
        wait_s = allowance.take(now)
        if not wait_s:
            begun.append(now)
            continue
        # The wait that is named is enough, and nothing is taken before.
        if wait_s > 0.01:
            assert allowance.take(now + wait_s * 0.5) > 0
        now += wait_s
        assert allowance.take(now + 1e-6) == 0
        begun.append(now + 1e-6)
    for index, at in enumerate(begun):
        assert sum(at <= other < at + WINDOW_S - 1e-3 for other in begun[index:]) <= per_minute
