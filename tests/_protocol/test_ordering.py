"""Events by sequence number: repetitions dropped, early events held, terminal events never lost."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ReceivedEvent
from trunkline._protocol.ordering import MAX_HELD, Ordering

DELTA = "response.output_text.delta"
UNKNOWN = "response.unheard_of"
LENGTH = 14


def event(kind: str, number: object = None) -> ReceivedEvent:
    fields: dict[str, Any] = {"type": kind, "sequence_number": number}
    if kind == DELTA:
        fields |= {"delta": str(number)}
    elif kind.startswith("response.steer"):
        fields |= {"steer": {"id": "s"}}
    elif kind == "response.output_item.added":
        fields |= {"item": {"type": "message"}}
    elif kind not in ("error", UNKNOWN):
        fields |= {"response": {"id": "r", "status": "x"}}
    return decode(json.dumps(fields).encode())


def passed(numbers: list[Any], kind: str = DELTA) -> list[object]:
    """The numbers of the passed events in order, including those flushed at the end."""
    ordering = Ordering()
    found = [each for number in numbers for each in ordering.admit(event(kind, number))]
    return [each.sequence_number for each in [*found, *ordering.flush()]]


def begun(expected: int = 2) -> Ordering:
    """An ordering that has passed the events before this number."""
    ordering = Ordering()
    for number in range(expected):
        ordering.admit(event(DELTA, number))
    return ordering


def test_events_in_order_pass_at_once() -> None:
    assert passed(list(range(50))) == list(range(50))


def test_a_repetition_is_dropped() -> None:
    assert passed([0, 1, 2, 2, 3, 1, 4]) == [0, 1, 2, 3, 4]


def test_an_early_event_waits_for_those_before_it() -> None:
    ordering = begun()
    assert ordering.admit(event(DELTA, 3)) == []
    assert [each.sequence_number for each in ordering.admit(event(DELTA, 2))] == [2, 3]


def test_a_gap_is_given_up_after_max_held_events() -> None:
    numbers = [0, 1, *range(3, 4 + MAX_HELD)]
    assert passed(numbers) == numbers


@pytest.mark.parametrize("numbers", [[None] * 5, [0] * 5, ["a", "b"], [7, 7, 7]])
def test_without_usable_numbers_every_event_passes(numbers: list[Any]) -> None:
    assert passed(numbers) == numbers


@pytest.mark.parametrize("missing", [{4}, {2, 3}, {3, 5, 6}, {2, 3, 4, 5, 6}])
def test_events_wait_for_one_further_event_where_some_came_without_a_number(missing: set[int]) -> None:
    ordering = begun()
    late: list[ReceivedEvent] = []
    passed_events: list[ReceivedEvent] = []
    given = [event(DELTA, None if number in missing else number) for number in range(2, 10)]
    for each in given:
        now = ordering.admit(each)
        passed_events += now
        assert now or not late
        late = [] if now else [each]
    assert passed_events == given


@pytest.mark.parametrize("between", [[], [None], [None, None]])
def test_an_event_that_comes_early_after_one_without_a_number_waits(between: list[None]) -> None:
    ordering = begun()
    given = [event(UNKNOWN), event(DELTA, 3), *(event(UNKNOWN) for _ in between), event(DELTA, 2)]
    found = [each.sequence_number for one in given for each in ordering.admit(one)]
    assert [number for number in found if number is not None] == [2, 3]
    assert ordering.follows(event(DELTA, 4))


@pytest.mark.parametrize("first", [[0, 1], [0]])
def test_a_delta_without_text_releases_no_event_that_waits(first: list[int]) -> None:
    empty = decode(json.dumps({"type": DELTA, "delta": ""}).encode())
    after = len(first)
    given = [*(event(DELTA, at) for at in (*first, after + 1)), empty, event(DELTA, after)]
    ordering = Ordering()
    found = [each.sequence_number for one in given for each in ordering.admit(one)]
    assert [number for number in found if number is not None] == list(range(after + 2))


def test_an_end_waits_for_no_gap_after_an_event_without_a_number() -> None:
    ordering = begun()
    ordering.admit(event(UNKNOWN))
    assert ordering.admit(event(DELTA, 3)) == []
    assert [each.sequence_number for each in ordering.admit(event("response.completed", 4))] == [3, 4]


@pytest.mark.parametrize("first", [[0, 1], [0]])
def test_a_repetition_of_an_event_that_waits_is_dropped(first: list[int]) -> None:
    after = len(first)
    assert passed([*first, after + 1, after + 1, after, after + 2]) == list(range(after + 3))


@pytest.mark.parametrize("first", [[0, 1], [0]])
def test_another_event_with_the_number_of_one_that_waits_is_kept(first: list[int]) -> None:
    after = len(first)
    ordering = Ordering()
    given = [event(DELTA, number) for number in [*first, after + 1]]
    other = decode(json.dumps({"type": DELTA, "sequence_number": after + 1, "delta": "other"}).encode())
    assert [each for one in [*given, other] for each in ordering.admit(one)] == [*given, other]


class Arrivals(NamedTuple):
    """Of each event: whether it is swapped with the next, is repeated, and follows one without a number."""

    swapped: list[bool]
    repeated: list[bool]
    unnumbered: list[bool]


@given(st.builds(Arrivals, *(st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH) for _ in range(3))))
def test_numbered_events_pass_in_order_among_events_of_unknown_types(arrivals: Arrivals) -> None:
    """Each event may change places with its neighbour, come twice, and follow an event without a number."""
    numbers = list(range(LENGTH))
    for number in range(1, LENGTH - 1):
        if arrivals.swapped[number] and numbers[number] == number:
            numbers[number], numbers[number + 1] = numbers[number + 1], numbers[number]
    given = [event("response.created", 0)]
    for number in numbers[1:]:
        given += [event(UNKNOWN)] if arrivals.unnumbered[number] else []
        given += [event(DELTA, number)] * (1 + arrivals.repeated[number])
    ordering = Ordering()
    found = [each.sequence_number for one in given for each in ordering.admit(one)]
    found += [each.sequence_number for each in ordering.flush()]
    assert [number for number in found if number is not None] == list(range(LENGTH))
    assert found.count(None) == sum(arrivals.unnumbered[1:])


def test_an_event_without_a_number_is_not_overtaken_by_events_that_waited() -> None:
    ordering = begun()
    assert ordering.admit(event(DELTA, 3)) == []
    assert [each.sequence_number for each in ordering.admit(event(DELTA))] == [3, None]


def test_events_wait_again_once_the_numbers_go_on() -> None:
    ordering = begun()
    ordering.admit(event(DELTA))  # it used no number: the next one has the expected
    for number in (2, 3):
        assert ordering.follows(event(DELTA, number))
    assert ordering.admit(event(DELTA, 5)) == []
    assert [each.sequence_number for each in ordering.admit(event(DELTA, 4))] == [4, 5]


def test_a_gap_that_is_larger_than_the_events_without_a_number_is_waited_for() -> None:
    ordering = begun()
    ordering.admit(event(DELTA))
    found = [[each.sequence_number for each in ordering.admit(event(DELTA, number))] for number in (4, 3, 5)]
    assert found == [[], [], [3, 4, 5]]


@pytest.mark.parametrize("kind", ["error", "response.steer.accepted", "response.steer.failed"])
@pytest.mark.parametrize("number", [0, 1, 2, 9, None])
def test_errors_and_steer_outcomes_pass_with_any_number(kind: str, number: int | None) -> None:
    ordering = begun()
    answer = event(kind, number)
    assert ordering.admit(answer) == [answer]


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_terminal_event_always_passes(kind: str, number: int) -> None:
    ordering = begun()
    end = event(kind, number)
    assert ordering.admit(end) == [end]


def test_a_steer_outcome_in_sequence_leaves_no_gap() -> None:
    ordering = begun()
    assert len(ordering.admit(event("response.steer.accepted", 3))) == 1
    for number in (2, 4, 5):
        assert [each.sequence_number for each in ordering.admit(event(DELTA, number))] == [number]
    assert not ordering.held


def test_a_terminal_event_passes_after_a_steer_outcome_with_a_later_number() -> None:
    ordering = begun()
    ordering.admit(event("response.steer.failed", 3))
    assert [each.type for each in ordering.admit(event("response.completed", 2))] == ["response.completed"]


def test_a_steer_outcome_that_counts_apart_takes_no_number_from_output() -> None:
    ordering = begun()
    ordering.admit(event("response.steer.accepted", 3))
    found = [[each.sequence_number for each in ordering.admit(event(DELTA, number))] for number in (3, 2, 4)]
    assert found == [[], [2, 3], [4]]


def test_flush_passes_held_events_in_order_and_counting_continues() -> None:
    ordering = begun()
    for number in (5, 3):
        assert ordering.admit(event(DELTA, number)) == []
    assert [each.sequence_number for each in ordering.flush()] == [3, 5]
    assert [each.sequence_number for each in ordering.admit(event(DELTA, 6))] == [6]
    assert ordering.flush() == []


def test_a_repeated_first_event_is_dropped_before_numbers_are_trusted() -> None:
    created = event("response.created", 0)
    ordering = Ordering()
    assert [ordering.admit(created), ordering.admit(created)] == [[created], []]


def test_a_repeated_event_is_dropped_after_one_that_came_early() -> None:
    in_progress, created = event("response.in_progress", 1), event("response.created", 0)
    ordering = Ordering()
    given = [in_progress, created, created, event(DELTA, 2)]
    assert [each for one in given for each in ordering.admit(one)] == [created, in_progress, given[-1]]


@pytest.mark.parametrize("second", ["response.queued", "response.in_progress", "response.output_item.added"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_response_begins_with_its_creation(second: str, first: int) -> None:
    early, created = event(second, first + 1), event("response.created", first)
    ordering = Ordering()
    given = [early, early, created, event(DELTA, first + 2)]
    assert [ordering.admit(each) for each in given] == [[], [], [created, early], [given[-1]]]


def test_a_response_without_its_creation_waits_for_one_event() -> None:
    given = [event("response.in_progress", 1), *(event(DELTA, number) for number in range(2, 6))]
    ordering = Ordering()
    assert [ordering.admit(each) for each in given] == [[], given[:2], *([each] for each in given[2:])]


@pytest.mark.parametrize(
    "numbers",
    [
        [0, None, 2, 4, 3, 5],
        [0, None, 2, 3, 5, 4],
        [0, None, 2, None, 5, 4],
        [0, None, None, 3, 5, 4],
        [0, 1, None, 3, 5, 4],
    ],
)
def test_events_that_lack_their_number_leave_no_gap(numbers: list[int | None]) -> None:
    expected = [None if number not in numbers else number for number in range(6)]
    assert passed(numbers) == expected


def test_a_swap_is_noticed_after_a_response_without_its_creation() -> None:
    given = [event("response.in_progress", 1), *(event(DELTA, number) for number in (3, 2, 4))]
    ordering = Ordering()
    found = [each.sequence_number for one in given for each in ordering.admit(one)]
    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("numbers", "kept"),
    [
        ([0, 2, 4, 4, 6, 4, 8, 2], [0, 2, 4, 6, 8]),
        ([7, 7, 7], [7, 7, 7]),
    ],
)
def test_repetitions_are_told_by_numbers_that_rise(numbers: list[int], kept: list[int]) -> None:
    assert passed(numbers) == kept


@pytest.mark.parametrize("numbers", [[], [0], [0, 1]])
def test_no_event_passes_without_admission_once_the_shortcut_is_closed(numbers: list[int]) -> None:
    ordering = begun(0)
    for number in numbers:
        ordering.admit(event(DELTA, number))
    assert ordering.follows(event(DELTA, 2)) == (len(numbers) == 2)
    ordering.close_shortcut()
    assert not ordering.follows(event(DELTA, 3))
    ordering.admit(event(DELTA, 3))
    ordering.admit(event(DELTA, 4))
    assert ordering.follows(event(DELTA, 5))


@pytest.mark.parametrize(
    "numbers",
    [
        [0, 2, 1, 3, 5, 4, 6],
        [0, 2, 1, 4, 3, 6, 5],
        [0, 3, 1, 2, 4],
    ],
)
def test_numbers_count_from_the_first_swap(numbers: list[int]) -> None:
    assert passed(numbers) == sorted(numbers)


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_events_that_changed_places_with_their_neighbours_pass_in_order(swaps: list[bool]) -> None:
    numbers = list(range(22))
    for number in range(1, 21):
        # No event moves twice: the one that an early event overtook is the next to arrive.
        if swaps[number - 1] and numbers[number] == number:
            numbers[number], numbers[number + 1] = numbers[number + 1], numbers[number]
    assert passed(numbers) == list(range(22))


@pytest.mark.parametrize("step", [2, 3, 10])
def test_numbers_with_gaps_delay_one_event_until_the_next(step: int) -> None:
    ordering = Ordering()
    times = [
        [each.sequence_number for each in ordering.admit(event(DELTA, number * step))] for number in range(6)
    ]
    assert times == [[0], [], [step, 2 * step], [3 * step], [4 * step], [5 * step]]


def test_an_event_without_a_number_is_not_overtaken_by_one_that_waits() -> None:
    assert passed([0, 2, None, 3, 4]) == [0, 2, None, 3, 4]


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_an_end_waits_for_no_gap_before_numbers_are_trusted(kind: str) -> None:
    ordering = Ordering()
    ordering.admit(event(DELTA, 0))
    end = event(kind, 7)
    assert ordering.admit(end) == [end]


@pytest.mark.parametrize("kind", ["error", "response.steer.accepted"])
def test_answers_to_requests_release_no_event_that_waits(kind: str) -> None:
    ordering = Ordering()
    answer = event(kind, 1)
    given = [event(DELTA, 0), event(DELTA, 2), answer, event(DELTA, 1), event(DELTA, 3)]
    found = [[each.sequence_number for each in ordering.admit(each)] for each in given]
    assert found == [[0], [], [1], [1, 2], [3]]


@given(st.permutations(range(14)), st.lists(st.integers(0, 13), max_size=10))
def test_permuted_and_repeated_events_pass_once_and_in_order(order: list[int], again: list[int]) -> None:
    numbers = [0, 1, *(number + 2 for number in [*order, *again])]
    assert passed(numbers) == list(range(16))


def test_restarted_numbers_within_a_response_lose_no_event() -> None:
    ordering = Ordering()
    given = [(number, f"{part}-{number}") for part in range(3) for number in range(4)]
    texts = [
        each.delta  # type: ignore[union-attr]
        for number, text in given
        for each in ordering.admit(
            decode(json.dumps({"type": DELTA, "sequence_number": number, "delta": text}).encode())
        )
    ]
    assert texts == [text for _, text in given]


@given(st.lists(st.integers(0, 12), max_size=40))
def test_the_shortcut_passes_what_admit_would_pass(numbers: list[int]) -> None:
    """`follows` may be tried first for any event: the same events pass, in the same order."""
    plain, quick = Ordering(), Ordering()
    for number in numbers:
        each = event(DELTA, number)
        expected = plain.admit(each)
        assert ([each] if quick.follows(each) else quick.admit(each)) == expected
        assert (quick.numbers, quick.held) == (plain.numbers, plain.held)
