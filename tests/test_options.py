from __future__ import annotations

import pytest

from trunkline.options import Deadlines, Due, Phase

NONE = Deadlines(connect=None, first_event=None, first_output=None, between_events=None, total=None)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.TOTAL])
def test_each_phase_has_its_own_limit_from_its_start(phase: Phase) -> None:
    deadlines = Deadlines(**dict.fromkeys(("connect", "first_event")) | {phase.value: 3.0})
    assert deadlines.due(phase, started_at=10, since=20) == Due(phase, 23, 3.0)


@pytest.mark.parametrize("phase", list(Phase))
def test_without_limits_nothing_is_ever_due(phase: Phase) -> None:
    assert NONE.due(phase, started_at=10, since=20) is None


def test_the_total_deadline_applies_if_it_is_earlier() -> None:
    deadlines = Deadlines(first_event=5, total=8)
    assert deadlines.due(Phase.FIRST_EVENT, started_at=0, since=2) == Due(Phase.FIRST_EVENT, 7, 5)
    assert deadlines.due(Phase.FIRST_EVENT, started_at=0, since=4) == Due(Phase.TOTAL, 8, 8)


def test_the_total_deadline_applies_if_the_phase_has_none() -> None:
    deadlines = Deadlines(between_events=None, total=8)
    assert deadlines.due(Phase.BETWEEN_EVENTS, started_at=1, since=400) == Due(Phase.TOTAL, 9, 8)


def test_by_default_every_phase_is_bounded_and_the_first_output_may_take_a_minute() -> None:
    deadlines = Deadlines()
    for phase in Phase:
        assert deadlines.due(phase, 0, 0) is not None
    assert deadlines.first_output is not None
    assert deadlines.first_event is not None
    assert deadlines.first_output >= 60 > deadlines.first_event
