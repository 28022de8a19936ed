from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._decisions.inputs import Inputs
from trunkline.gateway.refusal import Refused
from trunkline.gateway.screening import check_ids, check_strictly, members_of, outlined, value_of


def check(source: dict[str, Any] | bytes, *known: str) -> None:
    body = source if isinstance(source, bytes) else json.dumps(source).encode()
    check_ids(body, members_of(body), known.__contains__)


@pytest.mark.parametrize(
    "source",
    [
        {"input": "the word container, file_id and prompt"},
        {"input": [{"role": "user", "content": "\u00e9"}], "store": None, "conversation": None},
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"background": False},
        {"tools": [{"type": "function", "parameters": {"properties": {"prompt": {"type": "string"}}}}]},
        {"text": {"format": {"type": "json_schema", "schema": {"properties": {"file_id": {}}}}}},
        {"metadata": {"conversation": "c"}},
        {"input": [{"type": "image_generation_call", "id": "ig_1", "result": "aGk="}]},
    ],
)
def test_what_names_nothing_of_others_passes(source: dict[str, Any]) -> None:
    check(source, "resp_1")


@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"previous_response_id": "resp_2"}, "previous_response_id"),
        ({"previous_response_id": 3}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "vector_store_ids"),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["f"]}}]}, "container"),
        ({"input": [{"content": [[{"image": {"file_id": "f"}}]]}]}, "file_id"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        (
            {"input": [{"type": "image_generation_call", "id": "ig_1", "result": None}]},
            "image_generation_call",
        ),
        ({"tools": [{"type": "shell", "environment": {"skills": [{"skill_id": "s"}]}}]}, "skill_id"),
        ({"tools": [{"type": "mcp", "parameters": {"file_id": "f"}}]}, "file_id"),
        ({"tools": [{"metadata": {"file_id": "f"}}]}, "file_id"),
        (b'{"input":[{"type":"item\\u005freference","id":"x"}]}', "item_reference"),
        (b'{"input":[{"file\\u005fid":"x"}]}', "file_id"),
    ],
)
def test_what_may_be_of_another_tenant_is_refused(source: dict[str, Any] | bytes, param: str) -> None:
    with pytest.raises(Refused) as refused:
        check(source, "resp_1")
    assert refused.value.param == param


@pytest.mark.parametrize("body", [b"", b"3", b"[]", b'{"a":', b"[" * 100_000, b'{"input":\xff}'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        check(body)


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"a":[{"b":1,"b":1}]}'])
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="twice"):
        check_strictly(body)
    with pytest.raises(Refused, match="twice"):
        check(body[:-1] + b',"file_id":null}')


def test_a_member_that_is_no_json_is_refused() -> None:
    with pytest.raises(Refused, match="model is not valid JSON"):
        value_of(members_of(b'{"model":"\xff"}'), "model")


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"{}", b'{"store":false}'),
        (b'{"input":[]}', b'{"store":false,"input":[]}'),
        (b'{"store":false}', b'{"store":false}'),
        (b'{"a":1.50,"store":true}', b'{"a":1.50,"store":false}'),
        (b'{"store":null,"a":1}', b'{"store":false,"a":1}'),
    ],
)
def test_nothing_is_stored_with_a_shared_key(body: bytes, stored: bytes) -> None:
    assert outlined(body, lambda given: given, stores=False)[0] == stored
    assert outlined(body, lambda given: given, stores=True)[0] == body


BODIES = (
    b'{"model":"m","input":[%b],"stream":true}',
    b'{"input":[%b],"model":"m","store":false}',
    b' { "input" : [%b], "store":true}',
    b'{"store":null,"input":[%b]}',
    b'{"\\u0073tore":true,"input":[%b]}',
)


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize("stores", [True, False])
def test_only_what_is_new_is_read_again(form: bytes, stores: bool) -> None:
    """The body to send is the same as without a memory."""
    inputs, items = Inputs(), [b'{"role":"user","content":"%d"}' % number for number in range(30)]
    for length in (10, 11, 29, 30):
        body = form % b",".join(items[:length])
        sent, outline, members = outlined(body, inputs.outline, stores=stores)
        fresh, whole, all_members = outlined(body, lambda given: given, stores=stores)
        assert (sent, whole) == (fresh, body)
        assert members.keys() == all_members.keys()
        assert stores or json.loads(sent)["store"] is False
        assert json.loads(sent)["input"] == json.loads(body)["input"]
        inputs.read(sent)
    if stores or form in BODIES[:2]:  # the others are encoded anew
        assert len(outline) < len(body) / 5


def test_an_id_after_known_items_is_found() -> None:
    inputs = Inputs()
    for rest in (b"", b',{"type":"item_reference","id":"x"}'):
        body = b'{"input":[{"role":"user","content":"a"}%b]}' % rest
        sent, outline, members = outlined(body, inputs.outline, stores=False)
        if rest:
            assert len(outline) < len(body)
            with pytest.raises(Refused, match="item_reference"):
                check_ids(outline, members, lambda _: False)
        else:
            check_ids(outline, members, lambda _: False)
            inputs.read(sent)
