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
    count_unchanged,
    function_call_output,
    items_of,
    user_message,
)
from trunkline.errors import ConfigurationError

from ..json_values import JSON_VALUES, whole
from .item_values import CALL, CONTENTS, ITEMS, OUTPUT, message, output, text


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


# Passing


@settings(max_examples=300, deadline=None)
@given(ITEMS | CONTENTS)
def test_any_json_with_a_type_or_role_passes_and_comes_out_as_it_was(value: dict[str, Any]) -> None:
    item = Item.of(value)
    assert repr(item.json()) == repr(whole(as_json(value)))
    assert repr(json.loads(item.encoded)) == repr(whole(as_json(value)))


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
    assert repr(item.json()) == repr(whole(as_json(before)))


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


@pytest.mark.parametrize("at", [0, 63, 64, 100, 149])
@pytest.mark.parametrize("other", [message("user", text("b")), {"type": "x", "n": 2}, 5, None])
def test_unchanged_objects_are_counted_up_to_the_first_change(at: int, other: object) -> None:
    values: list[Any] = [
        {"type": "x", "n": n} if n % 7 == 0 else message("user", text(str(n))) for n in range(150)
    ]
    items = [Item.of(copy.deepcopy(value), watched=n % 5 > 0) for n, value in enumerate(values)]
    assert count_unchanged(items, values) == 150
    assert count_unchanged(items[:70], values) == count_unchanged(items, values[:70]) == 70
    values[at] = other
    assert count_unchanged(items, values) == count_unchanged(items, tuple(values)) == at


def test_objects_that_cannot_be_compared_are_changes() -> None:
    class Odd(dict[str, Any]):
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            raise TypeError("no")

    items = [Item.of(message("user", text(str(n))), watched=True) for n in range(3)]
    values = [item.json() for item in items]
    assert count_unchanged(items, [values[0], Odd(values[1]), values[2]]) == 1


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


def test_a_received_item_keeps_its_bytes() -> None:
    encoded = b'{"role": "user", "content":"\\u0041"}'
    item = Item.received(encoded)
    assert item.encoded == encoded
    assert item == Item.of({"role": "user", "content": "A"})


@pytest.mark.parametrize("encoded", [b"", b"1", b"{}", b'{"type":7}', b'{"role":"user","role":"user"}'])
def test_received_bytes_that_are_no_item_are_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - callers send the request elsewhere
        Item.received(encoded)


def test_a_call_of_a_hosted_tool_that_is_passed_on_is_never_left_out() -> None:
    encoded = b'{"type":"mcp_call","id":"mcp_1","server_label":"s","name":"f","arguments":"{}","output":"x"}'
    item = Item.received(encoded)
    assert item.is_resendable
    assert item.is_server_only
    assert item.portable == encoded
    assert not Item.received(b'{"type":"reasoning","id":"rs_1","summary":[]}').is_resendable
