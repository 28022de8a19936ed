from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._decisions.inputs import Inputs
from trunkline._face.wanted import Wanted

JSON = dict[str, Any]
ITEM = {"role": "user", "content": "hello"}


def wanted(**fields: Any) -> Wanted:
    return Wanted.of(Inputs().read(json.dumps({"model": "m", "input": [ITEM], **fields}).encode()))


def test_fields_keep_their_bytes_and_null_is_removed() -> None:
    body = b'{"model":"m","top_p":1e0,"user":null,"reasoning":{"effort":"low","summary":null},"input":[]}'
    fields = Wanted.of(Inputs().read(body)).fields
    assert fields.head == b'"model":"m","top_p":1e0,"reasoning":{"effort":"low"}'
    assert fields.model == "m"


@pytest.mark.parametrize(("value", "is_streamed"), [(True, True), (False, False), (None, False)])
def test_whether_the_answer_is_streamed(value: bool | None, is_streamed: bool) -> None:
    found = wanted(stream=value, stream_options={"include_obfuscation": False})
    assert found.is_streamed is is_streamed
    assert b"stream" not in found.fields.head


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": 1},
        {"stream_id": "a"},
        {"type": "response.create"},
        {"generate": False},
        {"background": True},
        {"betas": ["x"]},
        {"previous_response_id": 7},
        {"previous_response_id": ""},
        {"model": None},
        {"model": 7},
    ],
    ids=str,
)
def test_what_no_frame_can_carry_is_refused(fields: JSON) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it is not shown
        wanted(**fields)


def test_fields_that_have_no_meaning_in_a_frame_are_left_out() -> None:
    found = wanted(background=False, stream_id=None)
    assert found.fields.head == b'"model": "m"'.replace(b" ", b"")


def test_keys_are_equal_for_equal_fields_in_any_order() -> None:
    one = Wanted.of(Inputs().read(b'{"model":"m","user":"u","input":"a","stream":true}'))
    other = Wanted.of(Inputs().read(b'{"input":"b","user":"u","previous_response_id":"r","model":"m"}'))
    assert one.fields_key == other.fields_key
    assert other.parent_id == "r"


@pytest.mark.parametrize("fields", [{"user": "v"}, {"a_new_field": 1}, {"model": "n"}], ids=str)
def test_every_field_counts(fields: JSON) -> None:
    assert wanted(**fields).fields_key != wanted().fields_key
    assert wanted(**fields).other_fields_key != wanted().other_fields_key


@pytest.mark.parametrize("fields", [{"instructions": "x"}, {"tools": []}], ids=str)
def test_the_other_key_leaves_instructions_and_tools_aside(fields: JSON) -> None:
    assert wanted(**fields).fields_key != wanted().fields_key
    assert wanted(**fields).other_fields_key == wanted().other_fields_key


def test_a_response_to_compare_the_cache_with_is_no_difference() -> None:
    options: JSON = {"ttl": "30m"}
    one = wanted(prompt_cache_options={**options, "comparison_response_id": "resp_1"})
    assert one.fields_key == wanted(prompt_cache_options=options).fields_key
    assert b"resp_1" in one.fields.head
    alone = wanted(prompt_cache_options={"comparison_response_id": "resp_1"})
    assert alone.fields_key == wanted().fields_key
    other = wanted(prompt_cache_options={"ttl": "12h", "comparison_response_id": "resp_1"})
    assert other.fields_key != one.fields_key
    odd = wanted(prompt_cache_options="comparison_response_id")
    assert odd.fields_key != wanted().fields_key
    nested = wanted(prompt_cache_options={"x": {"comparison_response_id": "resp_1"}})
    assert nested.fields_key != wanted(prompt_cache_options={"x": {}}).fields_key


def test_the_request_of_the_lineage() -> None:
    body = Inputs().read(b'{"model":"m","input":"a","previous_response_id":"r"}')
    asked = Wanted.of(body).asked(body, "key")
    assert (asked.parent_id, asked.key, asked.has_context, len(asked.items)) == ("r", "key", False, 1)
    assert wanted(conversation="c").asked(body, None).has_context
    assert wanted(prompt={"id": "p"}).asked(body, None).has_context


def test_the_body_over_http_has_all_fields_and_no_parent() -> None:
    body = Inputs().read(
        b'{"model":"m","input":"a","previous_response_id":"r","stream":true,"stream_options":{"x":1}}'
    )
    made = json.loads(Wanted.of(body).http_body(body.items.items()))
    assert made == {
        "model": "m",
        "stream": True,
        "stream_options": {"x": 1},
        "input": [{"type": "message", "role": "user", "content": "a"}],
    }
