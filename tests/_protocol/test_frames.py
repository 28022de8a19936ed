from __future__ import annotations

import copy
import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline._protocol.fields import Fields
from trunkline._protocol.frames import frame, http_body, size_in_full, steer_frame
from trunkline._protocol.history import History
from trunkline._protocol.items import Item

from ..json_values import JSON_OBJECTS, whole
from .requests import CALL, OUTPUT, WEATHER, items, sent, user


def test_a_frame_is_a_create_event_with_the_fields_and_the_items() -> None:
    fields = Fields.of({"model": "m", "instructions": "Be brief.", "tools": [WEATHER]})
    assert sent(fields, user("a"), CALL) == {
        "type": "response.create",
        "model": "m",
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "input": [user("a"), CALL],
    }


def test_a_frame_names_its_lane_and_parent_and_a_warm_up_only_where_given() -> None:
    fields = Fields.of({"model": "m"})
    assert sent(fields, stream_id="lane-1", previous_response_id='resp_"1"', generate=False) == {
        "type": "response.create",
        "stream_id": "lane-1",
        "generate": False,
        "model": "m",
        "previous_response_id": 'resp_"1"',
        "input": [],
    }
    assert sent(fields) == {"type": "response.create", "model": "m", "input": []}


def test_a_body_for_http_is_the_same_request_streamed() -> None:
    fields = Fields.of({"model": "m", "store": True})
    body = json.loads(http_body(fields, items(user("a")), previous_response_id="resp_1"))
    assert body == {
        "stream": True,
        "model": "m",
        "store": True,
        "previous_response_id": "resp_1",
        "input": [user("a")],
    }


def test_the_size_in_full_is_that_of_the_frame_with_everything() -> None:
    fields = Fields.of({"model": "m", "tools": [WEATHER]})
    for values in ([user("a"), CALL, OUTPUT], [user("é" * 50)]):
        asked = History.of(items(*values))
        for lane in (None, "lane-0"):
            assert size_in_full(fields, asked, lane) == len(frame(fields, asked, stream_id=lane))


@settings(max_examples=200, deadline=None)
@given(JSON_OBJECTS, st.lists(JSON_OBJECTS, max_size=3))
def test_unknown_fields_and_items_pass_untouched(
    more: dict[str, Any], contents: list[dict[str, Any]]
) -> None:
    known = {name: value for name, value in more.items() if value is not None}
    fields = Fields.of({"model": "m", **{f"new_{name}": value for name, value in known.items()}})
    values = [{**content, "type": "new"} for content in contents]
    expected = {f"new_{name}": value for name, value in known.items()}
    made = sent(fields, *values)
    assert repr(made.pop("input")) == repr(whole(json.loads(json.dumps(values))))
    request = {"type": "response.create", "model": "m", **expected}
    assert repr(made) == repr(whole(json.loads(json.dumps(request))))


def test_items_tools_and_instructions_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"model": "m", "instructions": "Be brief.", "tools": [WEATHER]}
    fields = Fields.of(values)
    made = items(user("a"), CALL)
    first = frame(fields, made)
    monkeypatch.setattr("trunkline._protocol.fields.copy_json", None)
    monkeypatch.setattr("trunkline._protocol.items.encode", None)
    assert frame(fields.following(copy.deepcopy(values)), made) == first


# Items


def test_items_are_sent_as_they_are() -> None:
    value = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": None}],
        "new": None,
    }
    assert sent(Fields.of({"model": "m"}), value)["input"] == [value]


@pytest.mark.parametrize("store", [True, False, None])
def test_ids_of_messages_and_calls_stay_behind_and_ids_that_mean_something_are_sent(
    store: bool | None,
) -> None:
    reference = {"type": "item_reference", "id": "msg_1"}
    fields = Fields.of({"model": "m", "store": store})
    made = sent(fields, {**user("a"), "id": "msg_1"}, {**CALL, "id": "fc_1"}, reference)
    assert made["input"] == [user("a"), CALL, reference]


REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
ENCRYPTED = {**REASONING, "encrypted_content": "x"}


@pytest.mark.parametrize("store", [True, None])
def test_where_responses_are_stored_what_has_an_id_can_be_looked_up(store: bool | None) -> None:
    nameless = {"type": "reasoning", "summary": []}
    fields = Fields.of({"model": "m", "store": store})
    assert sent(fields, REASONING, ENCRYPTED, nameless, CALL)["input"] == [REASONING, ENCRYPTED, CALL]


def test_where_nothing_is_stored_ids_and_reasoning_that_cannot_be_resent_are_left_out() -> None:
    fields = Fields.of({"model": "m", "store": False})
    made = sent(fields, {**user("a"), "id": "msg_1"}, REASONING, ENCRYPTED, {**CALL, "id": "fc_1"})
    encrypted = {name: value for name, value in ENCRYPTED.items() if name != "id"}
    assert made["input"] == [user("a"), encrypted, CALL]


def test_where_the_service_looks_up_no_ids_items_that_have_only_an_id_are_left_out() -> None:
    fields = Fields.of({"model": "m"})
    encrypted = {name: value for name, value in ENCRYPTED.items() if name != "id"}
    for made in (
        frame(fields, items(user("a"), REASONING, ENCRYPTED), looks_up=False),
        http_body(fields, items(user("a"), REASONING, ENCRYPTED), looks_up=False),
    ):
        assert json.loads(made)["input"] == [user("a"), encrypted]


@pytest.mark.parametrize("store", [True, False, None])
def test_reasoning_of_a_response_goes_out_again_only_with_its_encrypted_content(store: bool | None) -> None:
    output = [Item.from_output(json.dumps(item).encode()) for item in (REASONING, ENCRYPTED)]
    made = json.loads(frame(Fields.of({"model": "m", "store": store}), output))
    assert made["input"] == [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]


@pytest.mark.parametrize(
    ("given", "input_"),
    [
        ("go", "go"),
        (user("go"), [user("go")]),
        (MappingProxyType(user("go")), [user("go")]),
        ([user("go")], [user("go")]),
    ],
)
def test_a_steer_has_the_three_fields_of_the_protocol(given: Any, input_: Any) -> None:
    frame = json.loads(steer_frame("r1", given))
    assert frame == {"type": "response.steer", "previous_response_id": "r1", "input": input_}
