from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trunkline._protocol.items import (
    Item,
    assistant_message,
    function_call_output,
    items_of,
    user_message,
)
from trunkline.errors import ConfigurationError

from ..json_values import JSON_OBJECTS, JSON_VALUES


def message(role: str, *parts: Any) -> dict[str, Any]:
    content: Any = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)
    return {"type": "message", "role": role, "content": content}


def text(words: str, kind: str = "output_text", **more: Any) -> dict[str, Any]:
    return {"type": kind, "text": words, **more}


def output(item: dict[str, Any]) -> Item:
    return Item.from_output(json.dumps(item).encode())


CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}

ITEMS = st.builds(
    lambda fields, head: {**fields, "type": None, **head},
    JSON_OBJECTS,
    st.sampled_from(
        [
            {"type": "message", "role": "user"},
            {"role": "assistant"},
            {"type": "brand_new"},
            {"type": "reasoning"},
            {"type": "function_call"},
            {"type": "function_call_output"},
            {"type": "local_shell_call_output"},
            {"type": "tool_search_call"},
            {"type": "item_reference"},
        ]
    ),
)
CONTENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message"]), "role": st.just("assistant")}
).flatmap(lambda head: JSON_VALUES.map(lambda content: {**head, "content": content}))


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


# Passing


@settings(max_examples=300, deadline=None)
@given(ITEMS | CONTENTS)
def test_any_json_with_a_type_or_role_passes_and_comes_out_as_it_was(value: dict[str, Any]) -> None:
    item = Item.of(value)
    assert repr(item.json()) == repr(as_json(value))
    assert repr(json.loads(item.encoded)) == repr(as_json(value))


@settings(max_examples=200, deadline=None)
@given(ITEMS | CONTENTS)
def test_an_output_item_of_any_kind_can_be_read(value: dict[str, Any]) -> None:
    item = Item.from_output(json.dumps(value).encode())
    json.loads(item.encoded)
    json.loads(item.portable)
    repr(item)


@pytest.mark.parametrize("value", [{"role": "user"}, {"type": "anything"}, {"type": None, "role": "user"}])
def test_a_type_or_a_role_is_enough(value: dict[str, Any]) -> None:
    assert Item.of(value).kind == (value.get("type") or "message")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"content": "x"},
        {"type": ""},
        {"type": 5, "role": "user"},
        {"type": ["x"], "role": "user"},
        {"role": ""},
    ],
)
def test_an_item_without_a_type_or_role_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"input\[4\]: an item needs a type .* or a role") as caught:
        Item.of(value, "input[4]")
    assert caught.value.argument == "input"


@pytest.mark.parametrize("value", ["text", 5, None, ["list"], b"bytes", object()])
def test_an_item_that_is_no_dict_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"input\[0\]: an item must be a dict, not") as caught:
        Item.of(value, "input[0]")
    assert caught.value.argument == "input"


def test_what_is_not_json_is_refused_by_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"input\[2\].content\[0\].data is a bytes"):
        items_of([user_message("a"), CALL, message("user", {"type": "input_image", "data": b"x"})])


def test_input_is_a_string_an_item_or_a_list_of_items() -> None:
    assert [item.json() for item in items_of("hi")] == [user_message("hi")]
    assert [item.json() for item in items_of(CALL)] == [CALL]
    assert [item.json() for item in items_of((CALL, OUTPUT))] == [CALL, OUTPUT]
    assert items_of([]) == []
    assert items_of(MappingProxyType(CALL)) == items_of(OrderedDict(CALL)) == items_of(CALL)


@pytest.mark.parametrize("value", [5, None, b"bytes", bytearray(b"x"), {"a"}, iter([])])
def test_any_other_input_is_refused(value: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"input must be a string, an item or a list of items"
    ) as caught:
        items_of(value)
    assert caught.value.argument == "input"


def test_the_position_of_a_wrong_item_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^outputs\[1\]: an item needs"):
        items_of([CALL, {}], "outputs")


def test_short_forms_make_the_items_they_say() -> None:
    assert assistant_message("hello").json() == message("assistant", "hello")
    assert function_call_output("call_1", "rain").json() == OUTPUT


# A copy of its own


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from containers(part)


def edit(data: st.DataObject, value: Any) -> None:
    """One change somewhere inside, such that the JSON says something else."""
    place = data.draw(st.sampled_from(list(containers(value))))
    new = data.draw(JSON_VALUES)
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    action = data.draw(st.sampled_from(["set", "remove", "add"] if keys else ["add"]))
    if action == "add":
        if isinstance(place, dict):
            place["a key of its own"] = new
        else:
            place.append(new)
        return
    key = data.draw(st.sampled_from(keys))
    if action == "set":
        place[key] = new
    else:
        del place[key]


@settings(max_examples=300, deadline=None)
@given(ITEMS | CONTENTS, st.booleans(), st.data())
def test_every_edit_in_place_is_seen_and_changes_nothing_inside(
    value: dict[str, Any], watched: bool, data: st.DataObject
) -> None:
    item = Item.of(value, watched=watched)
    before = copy.deepcopy(value)
    encoded, identity = item.encoded, item.identity
    assert item.is_unchanged(value)
    edit(data, value)
    assume(repr(value) != repr(before))
    assert not item.is_unchanged(value)
    assert item.is_unchanged(before)
    assert (item.encoded, item.identity) == (encoded, identity)
    assert repr(item.json()) == repr(as_json(before))


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, True),
        (True, 1),
        (1, 1.0),
        (1.0, 1),
        (0, False),
        (False, 0.0),
        (0.0, -0.0),
        (None, float("nan")),
        (None, False),
        ([1], [True]),
        ({"a": 1}, {"a": 1.0}),
        ("1", 1),
        ("a", "b"),
        ("", None),
        ([], {}),
        ([], [[]]),
        ({"a": None}, {}),
        (2**70, float(2**70)),
    ],
)
def test_json_knows_differences_that_python_does_not(watched: bool, before: object, after: object) -> None:
    value = {"type": "x", "deep": [{"value": before}]}
    item = Item.of(value, watched=watched)
    assert item.is_unchanged(value)
    value["deep"] = [{"value": after}]
    assert not item.is_unchanged(value)


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(
    "other", [None, "text", 5, [], {}, {"type": "x", "a": b"x"}, {"type": "x", "a": object()}]
)
def test_something_else_altogether_is_a_change(watched: bool, other: object) -> None:
    assert not Item.of({"type": "x", "a": "b"}, watched=watched).is_unchanged(other)
    assert not Item.of({"type": "x", "a": 1}, watched=watched).is_unchanged(other)


def test_a_loop_made_later_is_a_change() -> None:
    value: dict[str, Any] = {"type": "x", "a": [1]}
    item = Item.of(value, watched=True)
    value["a"] = value
    assert not item.is_unchanged(value)


def test_a_watched_item_without_numbers_is_compared_without_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    value = message("user", text("a"), text("b"))
    item = Item.of(value, watched=True)
    monkeypatch.setattr("trunkline._protocol.items.encode", None)
    monkeypatch.setattr("trunkline._protocol.items.copy_json", None)
    assert item.is_unchanged(copy.deepcopy(value))
    assert not item.is_unchanged(message("user", text("a"), text("c")))


def test_equal_objects_are_unchanged() -> None:
    for value in (
        CALL,
        message("user", text("a", logprobs=[1.5])),
        {"type": "x", "half": "\ud800", "n": 2**80},
    ):
        for watched in (True, False):
            assert Item.of(value, watched=watched).is_unchanged(copy.deepcopy(value))


# Identity: what makes an item what it is


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


# Calls, outputs, and what only servers hold


def test_calls_and_outputs_know_their_call() -> None:
    assert (Item.of(CALL).is_call, Item.of(CALL).is_call_output, Item.of(CALL).call_id) == (
        True,
        False,
        "call_1",
    )
    assert (Item.of(OUTPUT).is_call, Item.of(OUTPUT).is_call_output) == (False, True)
    assert Item.of({"type": "local_shell_call_output", "id": "c", "output": ""}).call_id == "c"
    for other in (message("user", "x"), {"type": "mcp_call", "call_id": "c"}, {**CALL, "call_id": 5}):
        item = Item.of(other)
        assert (item.is_call, item.is_call_output, item.call_id) == (False, False, None)


@pytest.mark.parametrize(
    ("item", "server_only", "resendable"),
    [
        (message("assistant", "x"), False, True),
        (CALL, False, True),
        ({"type": "mcp_approval_request", "id": "a"}, False, True),
        ({"type": "compaction", "encrypted_content": "x"}, False, True),
        ({"type": "reasoning", "id": "rs_1", "summary": []}, True, False),
        ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}, True, False),
        ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}, True, True),
        ({"type": "web_search_call", "id": "ws_1"}, True, False),
        ({"type": "file_search_call", "id": "fs_1"}, True, False),
        ({"type": "code_interpreter_call", "id": "ci_1"}, True, False),
        ({"type": "image_generation_call", "id": "ig_1"}, True, False),
        ({"type": "mcp_call", "id": "mcp_1"}, True, False),
        ({"type": "mcp_list_tools", "id": "mcpl_1"}, True, False),
        ({"type": "tool_search_call", "call_id": None}, True, False),
        ({"type": "tool_search_call", "call_id": "c"}, False, True),
        ({"type": "tool_search_output", "call_id": None}, True, False),
    ],
)
def test_reasoning_and_hosted_calls_are_what_only_servers_hold(
    item: dict[str, Any], server_only: bool, resendable: bool
) -> None:
    for made in (Item.of(item), Item.from_output(json.dumps(item, indent=1).encode())):
        assert (made.is_server_only, made.is_resendable) == (server_only, resendable)


# Ids that a service would look up


@pytest.mark.parametrize(
    "item",
    [
        {**message("assistant", "x"), "id": "msg_1"},
        {**CALL, "id": "fc_1"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
    ],
)
def test_ids_stay_behind_when_nothing_is_stored(item: dict[str, Any]) -> None:
    without = {name: value for name, value in item.items() if name != "id"}
    given_by_caller = Item.of(item)
    assert json.loads(given_by_caller.encoded) == item
    assert json.loads(given_by_caller.portable) == without
    assert given_by_caller.has_id
    made_by_service = output(item)
    assert json.loads(made_by_service.encoded) == json.loads(made_by_service.portable) == without
    assert not made_by_service.has_id


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"type": "mcp_approval_request", "id": "a", "name": "n"},
        {"type": "local_shell_call_output", "id": "c", "output": ""},
    ],
)
def test_ids_that_other_items_speak_of_stay(item: dict[str, Any]) -> None:
    assert json.loads(Item.of(item).portable) == json.loads(output(item).encoded) == item


def test_an_item_is_encoded_once() -> None:
    for item in (Item.of(CALL), Item.of({**CALL, "id": "fc_1"}), output({**CALL, "id": "fc_1"})):
        assert item.portable is item.portable
    assert Item.of(CALL).portable == Item.of(CALL).encoded


def test_a_repr_shows_no_content() -> None:
    assert repr(Item.of(message("user", "secret"))) == "<Item message 51 bytes>"
