from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from trunkline._protocol.items import Item

from .item_values import CALL, ITEMS, OUTPUT, message, output, text


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    assert (Item.of(left) == Item.of(right)) == (Item.of(left).identity == Item.of(right).identity)
    if Item.of(left) == Item.of(right):
        assert hash(Item.of(left)) == hash(Item.of(right))
    return Item.of(left) == Item.of(right)


@pytest.mark.parametrize(
    "added",
    [{"id": "msg_1"}, {"status": "completed"}, {"phase": "final_answer"}, {"id": None}, {"brand_new": 1}],
)
@pytest.mark.parametrize("role", ["assistant", "user"])
def test_what_servers_add_to_a_message_is_aside(role: str, added: dict[str, Any]) -> None:
    assert same(message(role, "hi"), {**message(role, "hi"), **added})


def test_what_servers_add_to_a_part_is_aside() -> None:
    plain = message("assistant", text("hi"), {"type": "refusal", "refusal": "no"})
    added = message(
        "assistant",
        text("hi", annotations=[{"url": "x"}], logprobs=[]),
        {"type": "refusal", "refusal": "no", "logprobs": None},
    )
    assert same(plain, added)


def test_a_message_without_a_type_is_a_message() -> None:
    assert same({"role": "user", "content": "hi"}, message("user", "hi"))
    assert same({"type": None, "role": "user", "content": "hi"}, message("user", "hi"))


def test_a_string_equals_one_text_part_of_any_kind() -> None:
    for kind in ("input_text", "output_text", "text"):
        assert same(message("user", "hi"), message("user", text("hi", kind)))
    assert not same(message("user", "hi"), message("user", text("hi"), text("")))


def test_parts_that_are_no_objects_are_compared_as_they_are() -> None:
    assert same(message("user", "hi", None), {"role": "user", "content": ["hi", None]})
    assert not same(message("user", "hi", None), message("user", "hi", 0))


@pytest.mark.parametrize(
    "other",
    [
        message("assistant", "hi"),
        message("user", "ho"),
        message("user", ""),
        message("user", text("hi"), text("hi")),
        message("user", text("hi", "refusal")),
        message("user", text("hi", cache="1h")),
        message("user", {"type": "input_image", "image_url": "hi"}),
        {"type": "message", "role": "user"},
        {"type": "reasoning", "role": "user", "content": "hi"},
    ],
)
def test_another_role_or_content_is_another_message(other: dict[str, Any]) -> None:
    assert not same(message("user", "hi"), other)


@pytest.mark.parametrize(
    ("item", "same_fields", "other_fields"),
    [
        (
            CALL,
            {"id": "fc_1", "status": "completed", "namespace": None, "brand_new": 1},
            {
                "call_id": "call_2",
                "name": "wind",
                "arguments": "{}",
                "namespace": "n",
                "type": "custom_tool_call",
            },
        ),
        (OUTPUT, {"id": "fco_1", "status": "completed"}, {"call_id": "call_2", "output": "sun"}),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"},
            {"id": "ctc_1", "status": "completed"},
            {"call_id": "d", "name": "m", "input": "y"},
        ),
        (
            {"type": "custom_tool_call_output", "call_id": "c", "output": "x"},
            {"id": "o"},
            {"call_id": "d", "output": "y"},
        ),
        (
            {"type": "computer_call", "call_id": "c", "action": {"type": "click", "x": 1}},
            {"id": "cu_1", "status": "completed", "pending_safety_checks": []},
            {"call_id": "d", "action": {"type": "click", "x": 2}, "actions": [{}]},
        ),
        (
            {"type": "computer_call_output", "call_id": "c", "output": {"image_url": "u"}},
            {"id": "o", "status": "completed"},
            {"call_id": "d", "output": {"image_url": "v"}, "acknowledged_safety_checks": [{"id": "s"}]},
        ),
        (
            {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}},
            {"id": "l", "status": "completed"},
            {"call_id": "d", "action": {"command": ["rm"]}},
        ),
        (
            {"type": "local_shell_call_output", "id": "c", "output": "x"},
            {"status": "completed"},
            {"id": "d", "output": "y"},
        ),
        (
            {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
            {"id": "s", "status": "completed"},
            {"call_id": "d", "action": {"commands": []}},
        ),
        (
            {"type": "shell_call_output", "call_id": "c", "output": [], "status": "completed"},
            {"id": "s"},
            {"call_id": "d", "output": [{}], "status": "failed"},
        ),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {"path": "a"}},
            {"id": "s", "status": "completed"},
            {"call_id": "d", "operation": {"path": "b"}},
        ),
        (
            {"type": "apply_patch_call_output", "call_id": "c", "output": "x", "status": "completed"},
            {"id": "s"},
            {"call_id": "d", "output": "y", "status": "failed"},
        ),
        (
            {"type": "tool_search_call", "call_id": "c", "arguments": {"q": 1}},
            {"id": "t", "execution": "client"},
            {"call_id": "d", "arguments": {"q": 2}},
        ),
        (
            {"type": "tool_search_output", "call_id": "c", "tools": []},
            {"id": "t", "status": "completed"},
            {"call_id": "d", "tools": [{}]},
        ),
        ({"type": "item_reference", "id": "msg_1"}, {"status": "completed"}, {"id": "msg_2"}),
        (
            {"type": "mcp_approval_request", "id": "a", "server_label": "s", "name": "n", "arguments": "{}"},
            {"status": None},
            {"id": "b", "server_label": "t", "name": "m", "arguments": "[]"},
        ),
        (
            {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
            {"id": "r", "reason": None},
            {"approval_request_id": "b", "approve": False, "reason": "no"},
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"id": "rs_2", "summary": [{}], "status": "completed"},
            {"encrypted_content": "y"},
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"status": "completed", "encrypted_content": None},
            {"id": "rs_2", "summary": [{}], "content": [{}], "encrypted_content": "y"},
        ),
        (
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
            {"id": "cmp_2"},
            {"encrypted_content": "y"},
        ),
        (
            {"type": "function_call_output", "name": "f", "output": "x"},
            {"id": "o", "status": "completed", "call_id": None},
            {"name": "g", "namespace": "n", "caller": {"type": "program"}, "output": "y", "call_id": "c"},
        ),
        (
            {"type": "program", "id": "p", "call_id": "c", "code": "1"},
            {"id": "q", "status": "completed", "fingerprint": "f"},
            {"call_id": "d", "code": "2"},
        ),
        (
            {"type": "program_output", "id": "p", "call_id": "c", "result": "1"},
            {"id": "q", "status": "completed"},
            {"call_id": "d", "result": "2"},
        ),
        (
            {"type": "additional_tools", "role": "developer", "tools": []},
            {"id": "a", "status": "completed"},
            {"tools": [{}]},
        ),
        (
            {"type": "configuration_update", "reasoning": {"effort": "low"}},
            {"id": "a", "status": "completed"},
            {"reasoning": {"effort": "high"}, "text": {}},
        ),
        ({"type": "compaction_trigger"}, {"id": "a", "status": "completed"}, {"type": "compaction"}),
        ({"type": "brand_new", "id": "1"}, {}, {"id": "2", "status": "completed"}),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) and len(value) > 1 else "",
)
def test_each_kind_is_what_the_table_says(
    item: dict[str, Any], same_fields: dict[str, Any], other_fields: dict[str, Any]
) -> None:
    for name, value in same_fields.items():
        assert same(item, {**item, name: value}), name
    for name, value in other_fields.items():
        assert not same(item, {**item, name: value}), name


def a_call(arguments: Any, kind: str = "function_call") -> dict[str, Any]:
    return {"type": kind, "id": "a", "call_id": "c", "name": "n", "server_label": "s", "arguments": arguments}


@pytest.mark.parametrize("kind", ["function_call", "mcp_approval_request"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"city":"Oslo"}', '{ "city": "Oslo" }\n'),
        ('{"a":1,"b":[true,null]}', '{"b":[true,null],"a":1}'),
        ('{"a":{"x":1,"y":2}}', '{"a":{"y":2,"x":1}}'),
        ('{"a":"\\u00e9\\/"}', '{"a":"é/"}'),
        ('{"a":"\\ud83d\\ude00"}', '{"a":"\U0001f600"}'),
        ('{"a":"\\ud83d"}', '{"a": "\\uD83D"}'),
        ('{"a":' + "9" * 5000 + "}", '{"a": ' + "9" * 5000 + "}"),
        ("[1.50,-0]", "[ 1.50, -0 ]"),
        ("{}", " {} "),
        ("null", "null "),
    ],
)
def test_arguments_that_were_written_anew_are_the_same(left: str, right: str, kind: str) -> None:
    assert same(a_call(left, kind), a_call(right, kind))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"a":true}', '{"a":1}'),
        ('{"a":false}', '{"a":0}'),
        ('{"a":1}', '{"a":1.0}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":1e3}', '{"a":1000}'),
        ('{"a":0.1}', '{"a":0.10}'),
        ('{"a":0}', '{"a":-0}'),
        ('{"a":' + "9" * 400 + ".0}", '{"a":' + "9" * 401 + ".0}"),
        ('{"a":9007199254740993}', '{"a":9007199254740992}'),
        ('{"a":null}', "{}"),
        ("[1,2]", "[2,1]"),
        ("[]", "{}"),
        ('{"a":1}', '{"number":"1"}'),
        ("1", '{"number":"1"}'),
        ("{}", '{"object":{}}'),
        ('{"a":1}', '{"A":1}'),
        ('{"a":1,"a":1}', '{"a":1}'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('{"a":1,"a":2}', '{"a":1, "a":2}'),
        ('{"a":NaN}', '{"a": NaN}'),
        ("", "{}"),
        ("", " "),
        ("{", "{ "),
        ("[" * 100_000, "[" * 100_000 + " "),
        ('{"a":1}', {"a": 1}),
        ("null", None),
        ("{}", {"json": '{"object":{}}'}),
    ],
)
def test_arguments_that_differ_or_are_no_json_are_not_the_same(left: Any, right: Any) -> None:
    assert same(a_call(left), a_call(left))
    assert not same(a_call(left), a_call(right))


def test_the_input_of_a_custom_tool_is_text() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": '{"a":1}'}
    assert not same(custom, {**custom, "input": '{"a": 1}'})


@settings(max_examples=150, deadline=None)
@given(ITEMS, ITEMS)
def test_identity_depends_on_neither_the_order_of_keys_nor_the_way_an_item_came(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    turned = dict(reversed(left.items()))
    assert Item.of(left) == Item.of(turned) == Item.of(left, watched=True)
    if Item.of(left) == Item.of(right):
        assert Item.of(left).kind == Item.of(right).kind


def test_an_output_item_equals_the_one_that_an_application_kept() -> None:
    for item in (
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [text("a", annotations=[])]},
        {
            "type": "function_call",
            "id": "fc_1",
            "status": "completed",
            "call_id": "c",
            "name": "n",
            "arguments": "{}",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}},
        {"type": "mcp_approval_request", "id": "a", "server_label": "s", "name": "n", "arguments": "{}"},
    ):
        assert output(item) == Item.of(item)


# Texts that can be joined


@pytest.mark.parametrize(
    ("item", "joined"),
    [
        (message("assistant", "hi"), "hi"),
        (message("assistant", ""), ""),
        (message("assistant", text("a"), text("b", annotations=[])), "ab"),
        ({"type": "message", "role": "assistant", "content": []}, ""),
        ({"role": "assistant", "content": "hi"}, "hi"),
        (message("user", "hi"), None),
        (message("assistant", text("a"), {"type": "refusal", "refusal": "no"}), None),
        (message("assistant", text("a", brand_new=1)), None),
        ({"type": "message", "role": "assistant", "content": None}, None),
        ({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": None}]}, None),
        ({"type": "reasoning", "role": "assistant", "content": "hi"}, None),
    ],
)
def test_only_assistant_messages_of_text_alone_can_be_joined(
    item: dict[str, Any], joined: str | None
) -> None:
    assert Item.of(item).joinable_text == joined
