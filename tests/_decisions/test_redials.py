"""The wait between dials of a server that cannot be reached."""

from __future__ import annotations

import pytest

from trunkline._decisions.redials import redial_s


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_the_wait_grows_to_a_bound(jitter: float) -> None:
    waits = [redial_s(refusals, jitter) for refusals in (1, 2, 3, 4, 10_000)]
    share = 0.5 + jitter / 2
    assert waits == [0.25 * share, 0.5 * share, share, share, share]


def test_at_most_a_few_dials_begin_in_one_second() -> None:
    at = [sum(redial_s(refusals, 0.0) for refusals in range(1, count + 1)) for count in range(20)]
    for start in at:
        assert sum(start <= each < start + 1 for each in at) <= 4
