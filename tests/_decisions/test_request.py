"""The request of one turn, and the deltas that could be sent instead of its whole input."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline._decisions.baselines import Baseline, Baselines
from trunkline._decisions.placement import Owner
from trunkline._decisions.request import Request
from trunkline._protocol.fields import Fields
from trunkline._protocol.history import History
from trunkline._protocol.items import Item
from trunkline._protocol.lane import Lane
from trunkline._protocol.lanes import Lanes

from .._protocol.lane_events import Sink


def of(*texts: str) -> History:
    return History.of([Item.of({"role": "user", "content": text}) for text in texts])


def baseline(response_id: str, *texts: str, stored: bool = True, lane: Lane | None = None) -> Baseline:
    asked = of(*texts)
    return Baseline(response_id, "m", stored, lane, len(asked), asked.mark, ())


def owner_of(*known: Baseline) -> Owner:
    baselines = Baselines()
    for each in known:
        baselines.commit(each)
    return Owner(baselines)


def request_of(owner: Owner | None, *texts: str, **fields: Any) -> Request:
    return Request("wss://example.test", Fields.of({"model": "m", **fields}), of(*texts), owner)


def parents(request: Request, *, keeps_responses: bool = True) -> list[tuple[str, bool]]:
    """Id and storage of the parents that could be named."""
    plans = request.plans(keeps_responses=keeps_responses)
    return [(plan.parent.response_id, plan.parent.stored) for plan in plans if plan.parent is not None]


def remembering_lane(response_id: str) -> Lane:
    lane = Lanes(named=True).new_lane()
    assert lane is not None
    lane.latest = response_id
    return lane


def test_an_id_that_may_have_become_another_response_s_is_not_sent() -> None:
    lanes = Lanes(named=False)
    lane = lanes.new_lane()
    assert lane is not None
    lanes.sending(lanes.reserve(lane, Sink()))
    request = request_of(owner_of(baseline("r1", "a", lane=lane)), "a", "b")
    (plan,) = request.plans(keeps_responses=True)
    assert request.checked(plan) is plan
    lanes.sending(lanes.reserve(lane, Sink()))  # while the turn waits for its own connection
    checked = request.checked(plan)
    assert (checked.parent, len(checked.delta)) == (None, 2)


def test_a_turn_without_an_owner_remembers_nothing_and_is_sent_in_full() -> None:
    request = request_of(None, "a", "b")
    assert not request.remembers
    assert request.plans(keeps_responses=True) == []


@pytest.mark.parametrize("context", [{"previous_response_id": "resp_0"}, {"conversation": "conv_1"}])
def test_a_turn_in_a_context_of_the_service_is_sent_in_full_and_not_remembered(
    context: dict[str, Any],
) -> None:
    request = request_of(owner_of(baseline("r1", "a")), "a", "b", **context)
    assert not request.remembers
    assert request.plans(keeps_responses=True) == []


def test_the_longest_stored_baseline_makes_the_shorter_ones_needless() -> None:
    owner = owner_of(baseline("r1", "a"), baseline("r2", "a", "b"))
    request = request_of(owner, "a", "b", "c")
    [plan] = request.plans(keeps_responses=True)
    assert plan.parent is not None
    assert plan.parent.response_id == "r2"
    assert [item.json()["content"] for item in plan.delta] == ["c"]


def test_after_a_baseline_of_a_lane_the_shorter_ones_follow_until_one_is_stored() -> None:
    owner = owner_of(
        baseline("r1", "a"),
        baseline("r2", "a", "b"),
        baseline("r3", "a", "b", "c", stored=False, lane=remembering_lane("r3")),
    )
    request = request_of(owner, "a", "b", "c", "d")
    assert parents(request) == [("r3", False), ("r2", True)]


def test_a_baseline_that_its_lane_has_forgotten_is_not_named() -> None:
    owner = owner_of(baseline("r1", "a", stored=False, lane=remembering_lane("r9")))
    assert parents(request_of(owner, "a", "b")) == []


def test_where_stored_responses_cannot_be_relied_on_only_lanes_remember() -> None:
    owner = owner_of(baseline("r1", "a"), baseline("r2", "a", "b", lane=remembering_lane("r2")))
    request = request_of(owner, "a", "b", "c")
    assert parents(request) == [("r2", True)]
    assert parents(request, keeps_responses=False) == [("r2", False)]


@pytest.mark.parametrize(
    ("conversation", "name"),
    [(None, None), ("conv_1", "conv_1"), ({"id": "conv_2"}, "conv_2")],
)
def test_the_conversation_of_the_service_is_named_by_its_id_or_by_an_object(
    conversation: Any, name: str | None
) -> None:
    given = {} if conversation is None else {"conversation": conversation}
    assert request_of(None, "a", **given).conversation_id == name


def test_its_repr_shows_neither_the_url_nor_content() -> None:
    shown = repr(request_of(None, "secret", instructions="secret"))
    assert "example.test" not in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("tools", "acts"),
    [
        ([{"type": "function", "name": "f"}], False),
        ([{"type": "mcp", "server_label": "s"}], True),
        (None, False),
    ],
)
def test_tools_that_an_item_adds_may_act(tools: Any, acts: bool) -> None:
    item = Item.of({"type": "additional_tools", "role": "developer", "tools": tools})
    asked = of("hello").extended([item])
    assert Request("wss://example.test", Fields.of({"model": "m"}), asked, None).acts is acts
