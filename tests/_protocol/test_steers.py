"""Steers of one attempt, from the sending to the outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline import ConfigurationError
from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ResponseIncomplete, SteerAccepted, SteerFailed, SteerPending
from trunkline._protocol.steers import Steers, SteerState, steer_items


def outcome(
    kind: str, steer_id: str | None = None, **fields: Any
) -> SteerAccepted | SteerFailed | SteerPending:
    steer = {"id": steer_id, "previous_response_id": "r1"}
    event = decode(json.dumps({"type": f"response.steer.{kind}", "steer": steer, **fields}).encode())
    assert isinstance(event, SteerAccepted | SteerFailed | SteerPending)
    return event


def steered(response_id: str = "r1") -> ResponseIncomplete:
    response = {"id": response_id, "incomplete_details": {"reason": "steered"}}
    event = decode(json.dumps({"type": "response.incomplete", "response": response}).encode())
    assert isinstance(event, ResponseIncomplete)
    return event


def sent(*texts: str) -> Steers:
    """The steers of an attempt that sent these texts."""
    steers = Steers()
    for text in texts:
        steers.add(text, steer_items(text))
    return steers


def states(steers: Steers) -> list[str]:
    return [steer.state.name for steer in steers.all]


def contents(items: list[Any]) -> list[str]:
    return [item.json()["content"] for item in items]


# Outcomes


def test_steers_are_open_and_answered_in_the_order_in_which_they_were_sent() -> None:
    steers = sent("a", "b", "c")
    assert states(steers) == ["OPEN"] * 3
    steers.resolve(outcome("accepted", "s1"))
    steers.resolve(outcome("failed", "s2", error={"code": "steer_limit"}))
    assert states(steers) == ["ACCEPTED", "REFUSED", "OPEN"]
    assert [(steer.id, steer.code) for steer in steers.all[:2]] == [("s1", None), ("s2", "steer_limit")]


@pytest.mark.parametrize("fields", [{}, {"error": None}, {"error": {"code": None}}, {"error": {"code": 7}}])
def test_a_steer_may_be_refused_without_a_code(fields: dict[str, Any]) -> None:
    steers = sent("a")
    steers.resolve(outcome("failed", **fields))
    assert (states(steers), steers.all[0].code) == (["REFUSED"], None)


def test_an_accepted_steer_may_be_handed_back_as_the_caller_gave_it() -> None:
    steers = sent("a", "b")
    steers.resolve(outcome("accepted", "s1"))
    steers.resolve(outcome("accepted", "s2"))
    steers.resolve(outcome("failed", "s1", error={"code": "response_failed"}))
    assert states(steers) == ["RETURNED", "ACCEPTED"]
    assert steers.returned == ["a"]
    assert steers.all[0].code is None, "it was not refused"


def test_a_steer_may_wait_for_the_next_request() -> None:
    steers = sent("a", "b")
    steers.resolve(outcome("accepted", "s1"))
    steers.resolve(outcome("pending", "s1"))
    assert states(steers) == ["WAITING", "OPEN"]
    assert contents(steers.waiting) == ["a"]


def test_an_outcome_of_no_steer_of_this_attempt_changes_nothing() -> None:
    steers = Steers()
    steers.resolve(outcome("accepted", "s1"))
    assert (steers.all, steers.returned, steers.waiting) == ((), [], [])


# Successors


def test_accepted_steers_become_part_of_the_successor_and_open_ones_do_not() -> None:
    steers = sent("a", "b", "c")
    steers.resolve(outcome("accepted", "s1"))
    steers.resolve(outcome("accepted", "s2"))
    ended = steered()
    steers.succeed(ended)
    assert states(steers) == ["USED", "USED", "OPEN"]
    [segment] = steers.segments
    assert segment.response is ended
    assert contents(segment.said) == ["a", "b"]


def test_what_was_said_after_a_segment_is_what_later_ones_hold_and_what_no_response_holds_yet() -> None:
    steers = sent("a", "b", "c", "d")
    steers.resolve(outcome("accepted", "s1"))
    steers.succeed(steered("r1"))
    steers.resolve(outcome("accepted", "s2"))
    steers.succeed(steered("r2"))
    steers.resolve(outcome("accepted", "s3"))
    steers.resolve(outcome("pending", "s4"))
    assert contents(steers.said_after(0)) == ["a", "b", "c", "d"]
    assert contents(steers.said_after(1)) == ["b", "c", "d"]
    assert contents(steers.said_after(2)) == ["c", "d"]


def test_reprs_show_no_content() -> None:
    steers = sent("secret")
    assert repr(steers) == "<Steers: 1 sent>"
    assert repr(steers.all[0]) == "<Steer OPEN>"
    assert steers.all[0].state is SteerState.OPEN


# Sending


@pytest.mark.parametrize(
    "given",
    ["go", {"role": "user", "content": "go"}, [{"role": "user", "content": "go"}]],
)
def test_a_string_a_message_and_a_list_of_messages_are_items(given: Any) -> None:
    assert contents(steer_items(given)) == ["go"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "the input of steer\\(\\) is empty"),
        ({"role": "assistant", "content": "go"}, "input\\[0\\] of steer\\(\\) is not a user message"),
        (
            [
                {"role": "user", "content": "go"},
                {"type": "function_call_output", "call_id": "c", "output": "o"},
            ],
            "input\\[1\\] of steer\\(\\) is not a user message \\(type 'function_call_output'\\)",
        ),
    ],
)
def test_what_is_no_user_message_is_refused_by_its_position(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        steer_items(given)
    assert refused.value.argument == "input"
