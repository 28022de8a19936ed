"""Reception without an event loop: received events in, visible events out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ReceivedEvent, ServerEvent
from trunkline._protocol.failure import Failure, FailureKind
from trunkline._protocol.reception import MAX_HELD_BACK, Reception, ReceptionPhase
from trunkline._protocol.steers import Steer, SteerState, steer_items

DELTA = "response.output_text.delta"
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ab"}]}


def event(kind: str, **fields: Any) -> ReceivedEvent:
    return decode(json.dumps({"type": kind, **fields}).encode())


def life(kind: str, response_id: str = "r", **more: Any) -> ReceivedEvent:
    return event(f"response.{kind}", response={"id": response_id, **more})


def text(piece: str) -> ReceivedEvent:
    return event(DELTA, delta=piece)


def types(events: list[Any]) -> list[str]:
    return [each.wire_type.removeprefix("response.") for each in events]


def received(*events: ReceivedEvent, into: Reception | None = None) -> tuple[Reception, list[str]]:
    reception = into or Reception()
    return reception, types([each for one in events for each in reception.receive(one, 0.0)])


def test_the_phases_of_an_answer() -> None:
    reception = Reception()
    phases = [reception.phase]
    for each in (life("created"), text("a"), life("completed")):
        reception.receive(each, 0.0)
        phases.append(reception.phase)
    assert [phase.name for phase in phases] == ["WAITING", "BEGUN", "OUTPUT", "ENDED"]


def test_life_cycle_events_are_held_back_until_output() -> None:
    reception = Reception()
    assert reception.receive(life("created"), 1.0) == []
    assert reception.receive(life("in_progress"), 2.0) == []
    assert types(reception.receive(text("a"), 3.0)) == ["created", "in_progress", "output_text.delta"]
    assert (reception.first_event_at, reception.first_output_at, reception.first_text_at) == (1.0, 3.0, 3.0)


def test_a_delta_without_text_is_no_output() -> None:
    reception, shown = received(life("created"), text(""))
    assert (reception.phase, shown) == (ReceptionPhase.BEGUN, [])
    assert types(reception.receive(text("a"), 2.0)) == ["created", "output_text.delta", "output_text.delta"]
    assert reception.first_text_at == 2.0


def compaction(kind: str) -> ReceivedEvent:
    return event(f"response.output_item.{kind}", output_index=0, item={"type": "compaction", "id": "cmp_1"})


def test_a_compaction_is_output_once_it_is_done() -> None:
    compacting = event("response.compaction.compacting", output_index=0, item_id="cmp_1")
    reception, shown = received(life("created"), compaction("added"), compacting)
    assert (reception.phase, shown) == (ReceptionPhase.BEGUN, [])
    _, shown = received(compaction("done"), into=reception)
    assert reception.phase is ReceptionPhase.OUTPUT
    assert shown == ["created", "output_item.added", "compaction.compacting", "output_item.done"]


def test_a_compaction_after_output_is_passed_on() -> None:
    reception, _ = received(life("created"), text("a"))
    assert received(compaction("added"), into=reception)[1] == ["output_item.added"]


def test_a_delta_without_text_between_output_is_passed_on() -> None:
    reception, _ = received(life("created"), event("response.output_item.added", item={}))
    assert types(reception.receive(text(""), 2.0)) == ["output_text.delta"]
    assert (reception.first_text_at, reception.is_speaking) == (None, False)


def test_an_answer_without_output_shows_its_life_cycle_at_the_end() -> None:
    reception, visible = received(life("created"), life("completed"))
    assert visible == ["created"]
    assert reception.final is not None


def test_output_that_the_final_event_lacks_is_filled_in() -> None:
    reception, _ = received(
        life("created"), event("response.output_item.done", item=MESSAGE), life("completed", output=[])
    )
    assert reception.final is not None
    assert reception.final.response.output_text == "ab"


def test_output_of_the_final_event_is_kept() -> None:
    other = {**MESSAGE, "content": [{"type": "output_text", "text": "final"}]}
    done = event("response.output_item.done", item=MESSAGE)
    reception, _ = received(life("created"), done, life("incomplete", output=[other]))
    assert reception.final is not None
    assert reception.final.response.output_text == "final"


@pytest.mark.parametrize(
    ("end", "kind", "started"),
    [
        (event("error", error={"code": "x"}), FailureKind.REFUSED, True),
        (life("failed", error={"code": "server_error"}), FailureKind.FAILED, True),
        (event("response.completed", response=7), FailureKind.VIOLATION, True),
    ],
)
def test_failures_end_the_reception(end: ReceivedEvent, kind: FailureKind, started: bool) -> None:
    reception, visible = received(life("created"), end, text("late"))
    assert reception.failure is not None
    assert (reception.failure.kind, reception.failure.started) == (kind, started)
    assert (reception.phase, visible) == (ReceptionPhase.FAILED, [])


def test_an_error_before_the_response_is_marked_as_not_started() -> None:
    reception, _ = received(event("error", status=429, error={"code": "rate_limit_exceeded"}))
    assert reception.failure is not None
    assert (reception.failure.started, reception.failure.is_transient) == (False, True)


def test_a_date_in_retry_after_is_compared_to_the_given_time() -> None:
    reception = Reception()
    headers = {"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}
    reception.receive(event("error", error={"code": "x", "headers": headers}), 0.0, epoch_s=70.0)
    assert reception.failure is not None
    assert reception.failure.retry_after_s == 30.0


def test_the_first_end_is_final() -> None:
    reception, _ = received(life("created"), text("a"), life("completed"))
    reception.fail(Failure.lost("gone"))
    assert (reception.phase, reception.failure) == (ReceptionPhase.ENDED, None)


def test_a_response_without_output_cannot_hold_events_without_end() -> None:
    reception, _ = received(life("queued"), *(event("response.busy") for _ in range(MAX_HELD_BACK)))
    assert reception.failure is not None
    assert reception.failure.kind is FailureKind.VIOLATION


def test_events_in_the_wrong_order_become_visible_in_order() -> None:
    numbered = [event(DELTA, delta=str(number), sequence_number=number) for number in range(5)]
    reception = Reception()
    visible = [
        each for number in (0, 1, 3, 2, 4) for each in reception.receive(numbered[number], float(number))
    ]
    assert "".join(each.delta for each in visible) == "01234"  # type: ignore[union-attr]


def test_events_that_came_early_become_visible_at_the_end_even_where_one_before_them_is_missing() -> None:
    numbered = [event(DELTA, delta=str(number), sequence_number=number) for number in range(5)]
    reception, _ = received(numbered[0], numbered[1])
    assert reception.receive(numbered[3], 0.0) == []
    end = event("response.completed", response={"id": "r"}, sequence_number=5)
    assert types(reception.receive(end, 0.0)) == ["output_text.delta"]
    assert reception.phase is ReceptionPhase.ENDED


def test_its_repr_shows_the_phase_and_no_content() -> None:
    reception, _ = received(life("created"), text("secret"))
    assert repr(reception) == "<Reception OUTPUT>"


def test_a_successor_of_a_steered_response_continues_the_reception() -> None:
    reception = Reception()
    reception.receive(life("created", "r1"), 0.0)
    reception.receive(text("a"), 0.0)
    steer = reception.steer("go", steer_items("go"))
    accepted = event("response.steer.accepted", steer={"id": "s1", "previous_response_id": "r1"})
    assert types(reception.receive(accepted, 0.0)) == ["steer.accepted"]
    steered = life("incomplete", "r1", incomplete_details={"reason": "steered"})
    assert reception.receive(steered, 0.0, may_go_on=True) == []
    assert types(reception.receive(life("created", "r2"), 0.0, may_go_on=True)) == ["incomplete", "created"]
    assert steer.state is SteerState.USED
    reception.receive(text("b"), 0.0)
    reception.receive(life("completed", "r2"), 0.0)
    assert reception.final is not None
    assert reception.final.response.id == "r2"
    [segment] = reception.steers.segments
    assert (segment.response.response.id, segment.said) == ("r1", steer.items)


def steered(*, is_accepted: bool = True) -> tuple[Reception, Steer]:
    """A response that has ended after a steer, and the steer."""
    reception = Reception()
    reception.receive(event("response.created", response={"id": "r1"}, sequence_number=0), 0.0)
    reception.receive(event(DELTA, delta="a", sequence_number=1), 0.0)
    steer = reception.steer("go", steer_items("go"))
    if is_accepted:
        accepted = event("response.steer.accepted", steer={"id": "s1", "previous_response_id": "r1"})
        reception.receive(accepted, 0.0)
    ended = event("response.incomplete", response={"id": "r1"}, sequence_number=2)
    assert reception.receive(ended, 0.0, may_go_on=True) == []
    return reception, steer


@pytest.mark.parametrize("is_numbered", [True, False])
@pytest.mark.parametrize(
    ("begins", "shown"),
    [
        (("created", "in_progress"), ["created", "in_progress"]),
        (("in_progress", "created"), ["created", "in_progress"]),
        (("in_progress",), ["in_progress"]),
        (("queued", "in_progress"), ["queued", "in_progress"]),
        ((), []),
    ],
    ids=lambda value: "-".join(value) or "end alone",
)
def test_a_successor_begins_with_any_event(
    begins: tuple[str, ...], shown: list[str], is_numbered: bool
) -> None:
    reception, steer = steered()
    kinds = sorted(begins, key=["created", "queued", "in_progress"].index)
    seen: list[ServerEvent] = []
    for kind in begins:
        number = {"sequence_number": kinds.index(kind)} if is_numbered else {}
        seen += reception.receive(event(f"response.{kind}", response={"id": "r2"}, **number), 0.0)
    seen += reception.receive(life("completed", "r2"), 0.0)
    expected = ["incomplete", *(shown if is_numbered else begins)]
    assert types(seen) == expected
    assert steer.state is SteerState.USED
    assert reception.final is not None
    assert reception.final.response.id == "r2"


@pytest.mark.parametrize("begun", ["error", "invalid"])
def test_a_successor_that_fails_before_it_begins_is_a_failure(begun: str) -> None:
    reception, steer = steered()
    failing = (
        event("error", error={"code": "server_error", "message": "m"}, status=500)
        if begun == "error"
        else event("response.created", response=3)
    )
    reception.receive(failing, 0.0)
    assert reception.phase is ReceptionPhase.FAILED
    assert reception.final is None
    assert reception.steers.said_after(0) == steer.items


def test_an_error_after_an_answer_whose_steer_was_not_accepted_is_no_failure() -> None:
    reception, _ = steered(is_accepted=False)
    reception.receive(event("error", error={"code": "server_error", "message": "m"}, status=500), 0.0)
    assert reception.phase is ReceptionPhase.ENDED
    assert reception.final is not None
    assert reception.final.response.id == "r1"


@pytest.mark.parametrize("number", [{}, {"sequence_number": 0}])
def test_the_beginning_of_a_response_is_shown_once(number: dict[str, int]) -> None:
    def begin(kind: str) -> ReceivedEvent:
        return event(f"response.{kind}", response={"id": "r"}, **number)

    created, queued, in_progress = begin("created"), begin("queued"), begin("in_progress")
    repeated = [in_progress, created, queued]
    _, shown = received(created, created, queued, *repeated, text("a"), *repeated, text("b"))
    assert shown == ["created", "queued", "in_progress", "output_text.delta", "output_text.delta"]


# Deltas that were cut within a character


def cut(numbers: list[int], *pieces: str, kind: str = DELTA, into: Reception | None = None) -> list[Any]:
    """The visible events of pieces, which arrive by these numbers."""
    reception = into or Reception()
    first = event("response.created", response={"id": "r"}, sequence_number=0)
    reception.receive(first, 0.0)
    deltas = [event(kind, delta=piece, sequence_number=at) for at, piece in enumerate(pieces, 1)]
    return [each for at in numbers for each in reception.receive(deltas[at - 1], 0.0)]


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4], [1, 3, 2, 4], [1, 2, 2, 3, 3, 4], [1, 3, 3, 2, 3, 2, 4]])
def test_halves_are_joined_after_they_were_put_in_order(numbers: list[int]) -> None:
    assert shown(cut(numbers, "a", "x\ud83d", "\ude82y", "b")) == "ax\N{STEAM LOCOMOTIVE}yb"


def test_no_delta_passes_a_half_that_waits() -> None:
    reception = Reception()
    assert shown(cut([1, 2], "a", "x\ud83d", into=reception)) == "a"
    assert not reception.ordering.follows(event(DELTA, delta="b", sequence_number=3))
    following = [event(DELTA, delta=piece, sequence_number=at) for at, piece in ((3, "b"), (4, "c"))]
    assert shown([each for one in following for each in reception.receive(one, 0.0)]) == "x\ufffdbc"
    assert reception.ordering.follows(event(DELTA, delta="d", sequence_number=5))


def test_a_half_that_nothing_follows_is_released() -> None:
    reception = Reception()
    assert reception.release(0.0) == []
    cut([1], "x\ud83d", into=reception)
    assert shown(reception.release(0.0)) == "x\ufffd"
    assert reception.release(0.0) == []


def test_a_refusal_that_was_cut_does_not_repeat_the_text_before_it() -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    reception = Reception()
    visible = cut([1], "a", into=reception)
    for number, each in enumerate(("x\ud83d", "\ude82"), 2):
        visible += reception.receive(event("response.refusal.delta", delta=each, sequence_number=number), 0.0)
    visible += reception.receive(event("response.output_item.done", item=item, sequence_number=4), 0.0)
    assert shown(visible) == "a"


def test_an_empty_text_delta_amid_the_output_is_no_text() -> None:
    reception = Reception()
    given = [
        life("created"),
        event("response.function_call_arguments.delta", delta="{", sequence_number=1),
        event("response.function_call_arguments.delta", delta="}", sequence_number=2),
        event("response.output_text.delta", delta="", sequence_number=3),
    ]
    visible = [each.type for one in given for each in reception.receive(one, 1.0)]
    assert visible[-1] == "response.output_text.delta"
    assert (reception.first_text_at, reception.is_speaking) == (None, False)
    reception.receive(event("response.output_text.delta", delta="a", sequence_number=4), 2.0)
    assert (reception.first_text_at, reception.is_speaking) == (2.0, True)


def test_text_and_refusal_of_one_item_are_both_told() -> None:
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "No."}]
    item = {"type": "message", "content": parts}
    _, visible = received(life("created"), event("response.output_item.done", item=item))
    assert visible == ["created", "output_text.delta", "refusal.delta", "output_item.done"]


def test_arguments_that_come_before_their_call_are_not_lost() -> None:
    call = {"type": "custom_tool_call", "id": "c", "call_id": "c", "name": "f", "input": ""}
    reception, _ = received(
        event("response.custom_tool_call_input.delta", item_id="c", delta="go"),
        event("response.output_item.added", item=call),
        life("completed", output=[]),
    )
    assert reception.final is not None
    [found] = reception.final.response.tool_calls
    assert found["input"] == "go"  # type: ignore[typeddict-item]


def test_messages_that_say_the_same_are_kept() -> None:
    dones = [event("response.output_item.done", item=MESSAGE, output_index=at) for at in (0, 0, 1)]
    reception, _ = received(life("created"), *dones, life("completed"))
    assert reception.final is not None
    assert reception.final.response.output == [MESSAGE, MESSAGE]


def test_an_item_with_an_id_is_kept_once_whatever_its_index() -> None:
    item = {**MESSAGE, "id": "m"}
    dones = [event("response.output_item.done", item=item, output_index=at) for at in (0, 1)]
    reception, _ = received(life("created"), *dones, life("completed"))
    assert reception.final is not None
    assert reception.final.response.output == [item]


# For all orders and all points of failure

PIECES = st.lists(st.sampled_from(["a", "b", "é", "🚂"]), min_size=1, max_size=8)


def answer(pieces: list[str], *, numbered: bool) -> list[ReceivedEvent]:
    frames: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r"}}]
    frames += [{"type": "response.in_progress", "response": {"id": "r"}}]
    frames += [{"type": DELTA, "delta": piece} for piece in pieces]
    message = {**MESSAGE, "content": [{"type": "output_text", "text": "".join(pieces)}]}
    frames += [{"type": "response.output_item.done", "item": message}]
    frames += [{"type": "response.completed", "response": {"id": "r", "output": [message]}}]
    if numbered:
        frames = [{**frame, "sequence_number": number} for number, frame in enumerate(frames)]
    return [decode(json.dumps(frame).encode()) for frame in frames]


def shown(events: list[Any]) -> str:
    return "".join(each.delta for each in events if each.type == DELTA)


@given(PIECES, st.booleans(), st.data())
def test_repeated_and_swapped_events_change_nothing(pieces: list[str], numbered: bool, data: Any) -> None:
    events = answer(pieces, numbered=numbered)
    arriving = list(events)
    if numbered:
        # Numbers are trusted once two in a row have counted, so the beginning arrives in order.
        at = data.draw(st.integers(2, len(events) - 2))
        if at + 1 < len(events) - 1 and data.draw(st.booleans()):
            arriving[at], arriving[at + 1] = arriving[at + 1], arriving[at]
        arriving.insert(at + 1, arriving[at])
    reception = Reception()
    visible = [each for one in arriving for each in reception.receive(one, 0.0)]
    assert shown(visible) == "".join(pieces)
    assert reception.phase is ReceptionPhase.ENDED
    assert types(visible)[:2] == ["created", "in_progress"]


@given(PIECES, st.integers(0, 12))
def test_nothing_is_visible_before_output_or_after_a_failure(pieces: list[str], cut: int) -> None:
    events = answer(pieces, numbered=True)
    reception = Reception()
    visible: list[Any] = []
    for each in events[:cut]:
        visible += reception.receive(each, 0.0)
    reception.fail(Failure.lost("the connection was lost", sent=True))
    for each in events[cut:]:
        assert reception.receive(each, 0.0) == []
    if cut <= 2:
        assert visible == []
    assert reception.phase is (ReceptionPhase.ENDED if cut >= len(events) else ReceptionPhase.FAILED)
    assert "".join(pieces).startswith(shown(visible))


def test_texts_of_two_parts_without_deltas_are_told_in_turn() -> None:
    reception = Reception()
    told = [
        each.delta  # type: ignore[union-attr]
        for at in (0, 1)
        for each in reception.receive(
            event("response.output_text.done", content_index=at, text=f"part {at}"), float(at)
        )
        if each.wire_type == DELTA
    ]
    assert told == ["part 0", "part 1"]
    assert reception.first_text_at == 0.0


def test_a_call_announced_without_arguments_is_kept_with_them() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f"}
    items = [{**call, "arguments": ""}, MESSAGE, {**call, "arguments": '{"a":1}'}]
    dones = [event("response.output_item.done", item=item) for item in items]
    reception, _ = received(life("created"), *dones, life("completed", output=[]))
    assert reception.final is not None
    output = reception.final.response.output
    assert [(item["type"], item.get("arguments")) for item in output] == [
        ("message", None),
        ("function_call", '{"a":1}'),
    ]


# The parent of a response


def expecting(parent: str | None) -> Reception:
    reception = Reception()
    reception.expected_parent = parent
    return reception


@pytest.mark.parametrize("begin", ["created", "queued", "in_progress", "completed", "incomplete"])
@pytest.mark.parametrize("parent", [{}, {"previous_response_id": None}, {"previous_response_id": "other"}])
def test_a_response_to_another_parent_fails_before_output(begin: str, parent: dict[str, Any]) -> None:
    reception, visible = received(life(begin, **parent), text("a"), into=expecting("p"))
    assert reception.failure is not None
    assert (reception.failure.kind, visible) == (FailureKind.IGNORED, [])


def test_output_before_any_sign_of_the_parent_is_not_shown() -> None:
    reception, visible = received(text("a"), into=expecting("p"))
    assert reception.failure is not None
    assert (reception.failure.kind, visible) == (FailureKind.IGNORED, [])


def test_a_response_that_names_the_parent_once_is_shown() -> None:
    first, last = life("in_progress", previous_response_id="p"), life("completed")
    reception, visible = received(event("keepalive"), first, text("a"), last, into=expecting("p"))
    assert visible == ["keepalive", "in_progress", "output_text.delta"]
    assert reception.failure is None


def test_a_refusal_of_the_parent_keeps_its_reason() -> None:
    for refused in (event("error", error={"code": "c"}), life("failed", error={"code": "c"})):
        reception, _ = received(refused, into=expecting("p"))
        assert reception.failure is not None
        assert reception.failure.code == "c"


@pytest.mark.parametrize(
    ("parent", "tells"),
    [({}, False), ({"previous_response_id": None}, True), ({"previous_response_id": "p"}, True)],
)
def test_a_response_tells_whether_its_server_shows_parents(parent: dict[str, Any], tells: bool) -> None:
    reception, _ = received(life("created", **parent), text("a"), life("completed"))
    assert reception.tells_parent is tells


@pytest.mark.parametrize(
    ("begun", "final", "stored"),
    [(True, None, True), (False, None, False), (True, False, False), (None, True, True), (None, None, None)],
)
def test_the_final_response_tells_what_its_beginning_told_of_the_store(
    begun: bool | None, final: bool | None, stored: bool | None
) -> None:
    reception, _ = received(life("created", store=begun), text("a"), life("completed", store=final))
    assert reception.final is not None
    assert reception.final.response.store is stored


# A failed response without a reason


def test_a_failed_response_without_a_reason_waits_for_it() -> None:
    reception, visible = received(life("created"), text("a"), life("failed"), text("b"))
    assert (reception.phase, reception.failure) == (ReceptionPhase.UNEXPLAINED, None)
    assert "b" not in visible
    assert not reception.is_speaking
    received(event("error", error={"code": "c", "message": "too hot"}), into=reception)
    assert reception.failure is not None
    assert (reception.failure.kind, reception.failure.code) == (FailureKind.FAILED, "c")
    assert not reception.is_unexplained


def test_without_a_reason_the_failure_of_the_response_is_kept() -> None:
    for end in (
        lambda each: each.fail(Failure.lost("gone")),
        lambda each: received(life("failed"), into=each),
    ):
        reception, _ = received(life("created"), life("failed"))
        end(reception)
        assert reception.failure is not None
        assert reception.failure.kind is FailureKind.FAILED
        assert "gave no reason" in reception.failure.message


def test_a_call_of_the_final_response_is_not_put_together_as_well() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    begun = event("response.output_item.added", item={**call, "arguments": ""}, output_index=0)
    reception, _ = received(life("created"), begun, life("completed", output=[call]))
    assert reception.final is not None
    assert reception.final.response.tool_calls == [call]


def test_a_call_that_only_begins_counts_in_a_completed_response_alone() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    begun = event("response.output_item.added", item=call, output_index=0)
    reception, _ = received(life("created"), begun, life("incomplete", output=[]))
    assert reception.final is not None
    assert reception.final.response.output == []
