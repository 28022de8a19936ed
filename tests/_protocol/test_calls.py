from __future__ import annotations

from typing import Any

import pytest

from trunkline._protocol.calls import Calls, is_call_to_answer


def call(**fields: Any) -> dict[str, Any]:
    whole = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}', **fields}
    return {name: value for name, value in whole.items() if value != "missing"}


def taken(calls: Calls, item: dict[str, Any], **more: Any) -> dict[str, Any] | None:
    return calls.take(item, "resp", is_finished=True, **more)


def test_a_usual_call_is_given_as_it_is() -> None:
    calls, item = Calls(), call(status="completed")
    assert taken(calls, item) is item
    assert taken(calls, call(), in_final=True) is item
    assert (calls.not_in_final(), calls.has_own_ids, len(calls)) == ([], False, 1)


@pytest.mark.parametrize(
    ("fields", "complete"),
    [
        ({"arguments": "missing"}, {"arguments": "{}"}),
        ({"arguments": None}, {"arguments": "{}"}),
        ({"arguments": {"a": 1}}, {"arguments": '{"a":1}'}),
        ({"name": {}}, {"name": ""}),
        ({"name": "missing"}, {"name": ""}),
        ({"call_id": "missing", "id": "fc"}, {"call_id": "fc"}),
        ({"call_id": "", "id": ""}, {"call_id": "resp_0"}),
        ({"call_id": 5, "id": 5}, {"call_id": "resp_0"}),
        ({"status": "in_progress"}, {"status": "completed"}),
        ({"status": "done"}, {"status": "completed"}),
        ({"status": "incomplete"}, {"status": "incomplete"}),
        ({"type": "custom_tool_call", "input": None}, {"input": ""}),
    ],
)
def test_fields_are_completed(fields: dict[str, Any], complete: dict[str, Any]) -> None:
    found = taken(Calls(), call(**fields))
    assert found is not None
    assert {name: found[name] for name in complete} == complete


def test_a_status_is_kept_where_nothing_says_that_the_call_is_finished() -> None:
    item = call(status="in_progress")
    assert Calls().take(item, "resp", is_finished=False, in_final=True) is item


@pytest.mark.parametrize("again", [call(), call(id="fc_2"), call(status="completed"), call(arguments="")])
def test_a_call_that_is_announced_again_is_taken_once(again: dict[str, Any]) -> None:
    calls = Calls()
    taken(calls, call(id="fc_1"))
    assert taken(calls, again) is None
    assert taken(calls, again, in_final=True) == call(id="fc_1")
    assert taken(calls, again, in_final=True) is None


def test_the_same_item_with_other_arguments_is_the_same_call() -> None:
    calls = Calls()
    taken(calls, call(id="fc"))
    assert taken(calls, call(id="fc", arguments='{"a": 1}')) is None


def test_a_call_that_is_announced_without_arguments_gets_those_that_follow() -> None:
    calls = Calls()
    taken(calls, call(arguments=""))
    assert taken(calls, call()) == call()
    assert taken(calls, call(), in_final=True) == call()
    assert len(calls) == 1


def test_two_calls_with_one_id_get_ids_of_their_own() -> None:
    calls = Calls()
    for number, other in enumerate(({}, {"arguments": '{"a":2}'}, {"name": "g"}), 1):
        found = taken(calls, call(**other))
        assert found is not None
        assert found["call_id"] == ("c" if number == 1 else f"c_{number}")
    assert calls.has_own_ids
    assert [taken(calls, call(arguments='{"a":2}'), in_final=True)] == [calls.after(1)[0]]
    assert [each["call_id"] for each in calls.not_in_final()] == ["c", "c_3"]


def test_calls_without_ids_are_the_same_in_two_places_and_different_in_one() -> None:
    calls, item = Calls(), call(call_id=None)
    first = taken(calls, item)
    second = taken(calls, item)
    assert first is not None
    assert second is not None
    assert [first["call_id"], second["call_id"]] == ["resp_0", "resp_1"]
    assert [taken(calls, item, in_final=True), taken(calls, item, in_final=True)] == [first, second]
    assert taken(calls, call(type="custom_tool_call", input="x"), in_final=True) is not None


@pytest.mark.parametrize("kind", [None, [], {}, "message", "web_search_call"])
def test_other_items_are_no_calls_to_answer(kind: object) -> None:
    assert not is_call_to_answer({"type": kind})
