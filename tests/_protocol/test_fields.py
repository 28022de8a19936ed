from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings

from trunkline._protocol.fields import ENCRYPTED_REASONING, Fields, check_calls
from trunkline._protocol.history import History
from trunkline.errors import ConfigurationError

from ..json_values import JSON_VALUES
from .requests import CALL, OUTPUT, WEATHER, items, sent, user


def refused(values: dict[str, Any]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Fields.of(values)
    return caught.value


# What stays off the wire


def test_unset_arguments_stay_off_the_wire() -> None:
    fields = Fields.of({"model": "m", "temperature": None, "tools": None, "stream": None, "store": None})
    assert fields.head == b'"model":"m"'
    assert (fields.store, fields.get("tools"), fields.get("model")) == (None, None, "m")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("reasoning", {"effort": "low", "summary": None}, {"effort": "low"}),
        ("reasoning", {"effort": None}, {}),
        (
            "text",
            {"verbosity": None, "format": {"type": "text", "strict": None}},
            {"format": {"type": "text"}},
        ),
        ("tool_choice", {"type": "function", "name": "f", "mode": None}, {"type": "function", "name": "f"}),
        ("prompt_cache_options", {"ttl": None, "mode": "x"}, {"mode": "x"}),
        ("context_management", [{"type": "compaction", "compact_threshold": None}], [{"type": "compaction"}]),
        ("conversation", {"id": "conv_1", "extra": None}, {"id": "conv_1"}),
        (
            "prompt",
            {"id": "p", "version": None, "variables": {"a": None}},
            {"id": "p", "variables": {"a": None}},
        ),
    ],
)
def test_none_inside_option_objects_stays_off_the_wire(name: str, given: Any, expected: Any) -> None:
    assert sent(Fields.of({"model": "m", name: given}))[name] == expected


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("tools", [WEATHER]),
        ("metadata", {"a": None}),
        ("text", {"format": {"type": "json_schema", "schema": {"default": None, "enum": [None, "a"]}}}),
        ("brand_new", {"a": None}),
        ("reasoning", {"list": [None, 1]}),
        ("tool_choice", "auto"),
    ],
)
def test_schemas_metadata_and_unknown_fields_are_sent_as_they_are(name: str, given: Any) -> None:
    assert sent(Fields.of({"model": "m", name: given}))[name] == given


# Refusals


@pytest.mark.parametrize("model", ["", "  ", 5, ["m"], True])
def test_a_wrong_model_is_refused(model: object) -> None:
    error = refused({"model": model})
    assert error.argument == "model"
    assert "model must be a non-empty string" in str(error)


@pytest.mark.parametrize("values", [{}, {"model": None}, {"temperature": 1}])
def test_a_missing_model_is_refused_with_an_example(values: dict[str, Any]) -> None:
    error = refused(values)
    assert error.argument == "model"
    assert "model is missing" in str(error)
    assert "gpt-" in str(error)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("stream", "always streamed"),
        ("stream_options", "no effect"),
        ("background", "HTTP API"),
        ("type", "trunkline sets it"),
        ("stream_id", "chooses the lane"),
        ("generate", "warm()"),
        ("input", "its own argument"),
    ],
)
@pytest.mark.parametrize("value", [True, False, "x"])
def test_fields_that_are_not_the_callers_are_refused(name: str, advice: str, value: object) -> None:
    error = refused({"model": "m", name: value})
    assert error.argument == name
    assert str(error).startswith(f"{name} cannot be given")
    assert advice in str(error)


def test_a_parent_and_a_conversation_exclude_each_other() -> None:
    error = refused({"model": "m", "previous_response_id": "resp_1", "conversation": "conv_1"})
    assert error.argument == "conversation"
    assert "previous_response_id and conversation cannot be combined" in str(error)
    fields = Fields.of({"model": "m", "previous_response_id": "resp_1"})
    with pytest.raises(ConfigurationError, match="cannot be combined"):
        fields.overridden({"conversation": "conv_1"})


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ("weather", "tools must be a list of tool definitions"),
        (WEATHER, "tools must be a list of tool definitions"),
        ([print], "tools must be a list of tool definitions"),
        ([WEATHER, {"name": "x"}], "tools[1] has no type"),
        ([{"type": ""}], "tools[0] has no type"),
        ([{"type": 5}], "tools[0] has no type"),
        ([{"type": "function"}], "tools[0] of type 'function' has no name"),
        ([{"type": "function", "name": ""}], "tools[0] of type 'function' has no name"),
        ([{"type": "function", "function": {"name": "x"}}], "has no name"),
        ([{"type": "custom", "name": 5}], "tools[0] of type 'custom' has no name"),
        ([{**WEATHER, "parameters": {"a": {1, 2}}}], "tools[0].parameters.a is a set"),
    ],
)
def test_wrong_tools_are_refused_by_their_position(tools: object, problem: str) -> None:
    error = refused({"model": "m", "tools": tools})
    assert error.argument == "tools"
    assert problem in str(error)


@pytest.mark.parametrize("tools", [[], (), [WEATHER], (MappingProxyType(WEATHER),), [{"type": "web_search"}]])
def test_right_tools_pass(tools: Any) -> None:
    assert sent(Fields.of({"model": "m", "tools": tools}))["tools"] == [dict(tool) for tool in tools]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("instructions", ["Be brief."], "instructions must be a string, not list"),
        ("store", "yes", "store must be True, False or None, not str"),
        ("store", 1, "store must be True, False or None, not int"),
        ("include", "reasoning.encrypted_content", "include must be a list of strings"),
        ("include", [5], "include must be a list of strings"),
        ("previous_response_id", "", "previous_response_id must be a non-empty string"),
        ("previous_response_id", 5, "previous_response_id must be a non-empty string, not int"),
        ("metadata", {"a": b"x"}, "metadata.a is a bytes, which is not JSON"),
        ("temperature", float("nan"), "temperature is a number out of range, which is not JSON"),
        ("seed", {"n": 10**5000}, "seed.n is a number out of range, which is not JSON"),
        ("text", {"format": {5: "x"}}, "text.format has a key of type int; JSON keys are strings"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_expectation(name: str, value: object, expected: str) -> None:
    error = refused({"model": "m", name: value})
    assert error.argument == name
    assert expected in str(error)


@pytest.mark.parametrize("name", ["instructions", "model", "store", "previous_response_id", "tools"])
def test_a_refusal_never_shows_a_value(name: str) -> None:
    assert "secret" not in str(refused({"model": "m", name: [["secret"]]}))


# The calls of the whole input


def checks(*values: dict[str, Any], **fields: Any) -> None:
    check_calls(History.of(items(*values)), Fields.of({"model": "m", **fields}))


def test_a_call_without_its_output_is_refused_naming_the_call_ids() -> None:
    with pytest.raises(
        ConfigurationError, match=r"without an output: call_1, call_2; .*'function_call_output'"
    ) as caught:
        checks(
            user("a"),
            {**CALL, "call_id": "call_2"},
            CALL,
            {**CALL, "call_id": "call_3"},
            {**OUTPUT, "call_id": "call_3"},
        )
    assert caught.value.argument == "input"


def test_an_output_without_its_call_is_refused_naming_the_call_ids() -> None:
    with pytest.raises(ConfigurationError, match="outputs without a call: call_1; add the calls"):
        checks(user("a"), OUTPUT)


def test_answered_calls_pass() -> None:
    checks(user("a"), CALL, OUTPUT, user("b"))
    checks()


ASYNC = {"type": "function", "name": CALL["name"], "async": True}


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([CALL], {"tools": [ASYNC]}),
        ([CALL], {"tools": [{"type": "namespace", "name": "n", "tools": [ASYNC]}]}),
        ([{**CALL, "async": True}], {}),
        ([{"type": "additional_tools", "role": "developer", "tools": [ASYNC]}, CALL], {}),
        ([CALL, user("a"), user("b"), OUTPUT], {"tools": [ASYNC]}),
    ],
)
def test_the_call_of_an_async_tool_may_stay_open(
    values: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    checks(user("a"), *values, user("b"), **fields)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([CALL], {"tools": [{**ASYNC, "async": False}]}),
        ([CALL], {"tools": [{**ASYNC, "name": "other"}, {"type": "mcp", "tools": ["x"]}]}),
        ([{**CALL, "async": None}], {}),
        ([CALL, {**CALL, "call_id": "call_0", "async": True}], {}),
    ],
)
def test_any_other_open_call_is_refused(values: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="without an output: call_1;"):
        checks(user("a"), *values, user("b"), **fields)


def test_the_output_of_a_program_needs_no_call() -> None:
    checks(user("a"), {"type": "function_call_output", "name": "f", "output": "x"})


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_an_output_may_answer_a_call_that_the_server_holds(name: str) -> None:
    checks(OUTPUT, **{name: "x_1"})
    with pytest.raises(ConfigurationError, match="call_1"):
        checks(CALL, **{name: "x_1"})


def test_what_is_missing_may_be_what_is_referred_to() -> None:
    checks({"type": "item_reference", "id": "fc_1"}, OUTPUT)
    checks(CALL, {"type": "item_reference", "id": "fco_1"})


# One request after another


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES, JSON_VALUES)
def test_the_next_request_says_what_its_own_values_say(before: Any, after: Any) -> None:
    fields = Fields.of({"model": "m", "brand_new": before, "other": [1]})
    following = fields.following({"model": "m", "brand_new": after, "other": [1]})
    assert repr(sent(following)) == repr(sent(Fields.of({"model": "m", "brand_new": after, "other": [1]})))


def test_an_edit_in_place_is_seen_and_does_not_change_the_request_before() -> None:
    tools: list[dict[str, Any]] = [copy.deepcopy(WEATHER)]
    first = Fields.of({"model": "m", "tools": tools})
    head = first.head
    tools[0]["strict"] = 1
    second = first.following({"model": "m", "tools": tools})
    assert sent(second)["tools"][0]["strict"] is not True
    assert first.head == head


@pytest.mark.parametrize("value", [MappingProxyType({"a": 1}), {"a": 1.0}, {"a": True}, {"b": 1, "a": 1}])
def test_what_python_holds_for_equal_is_checked_again(value: Any) -> None:
    fields = Fields.of({"model": "m", "metadata": {"a": 1}})
    made = sent(fields.following({"model": "m", "metadata": value}))["metadata"]
    assert repr(made) == repr(dict(value))


def test_what_became_wrong_is_refused() -> None:
    fields = Fields.of({"model": "m", "metadata": {"a": 1}})
    with pytest.raises(ConfigurationError, match=r"metadata\.a is a complex"):
        fields.following({"model": "m", "metadata": {"a": 1 + 0j}})


def test_fields_can_be_replaced_and_unset() -> None:
    fields = Fields.of({"model": "m", "temperature": 1, "store": True})
    changed = fields.overridden({"temperature": None, "store": False, "top_p": 0.5})
    assert changed.values() == {"model": "m", "store": False, "top_p": 0.5}
    assert changed.store is False
    assert fields.values() == {"model": "m", "temperature": 1, "store": True}
    assert fields.overridden({}) is fields


def test_an_include_is_added_once() -> None:
    fields = Fields.of({"model": "m", "include": ["a"]})
    twice = fields.including(ENCRYPTED_REASONING).including(ENCRYPTED_REASONING)
    assert twice.get("include") == ["a", ENCRYPTED_REASONING]
    assert Fields.of({"model": "m"}).including("a").get("include") == ["a"]


@pytest.mark.parametrize(
    ("values", "brings_context", "names_parent"),
    [
        ({}, False, False),
        ({"previous_response_id": "resp_1"}, True, True),
        ({"conversation": "conv_1"}, True, True),
        ({"prompt": {"id": "p"}}, True, False),
    ],
)
def test_a_context_of_the_servers_is_noticed(
    values: dict[str, Any], brings_context: bool, names_parent: bool
) -> None:
    fields = Fields.of({"model": "m", **values})
    assert (fields.brings_context, fields.names_parent) == (brings_context, names_parent)


@pytest.mark.parametrize(
    ("values", "acts"),
    [
        ({}, False),
        ({"tools": [WEATHER, {"type": "web_search"}]}, False),
        ({"tools": [WEATHER, {"type": "mcp", "server_label": "s"}]}, True),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, True),
        ({"tools": [{"type": "of_next_year"}]}, True),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [WEATHER]}]}, False),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "shell"}]}]}, True),
        ({"tools": [{"type": "namespace", "name": "n", "tools": ["odd"]}]}, True),
        ({"conversation": "conv_1"}, True),
        ({"prompt": {"id": "pmpt_1"}}, True),
        ({"previous_response_id": "resp_1"}, False),
    ],
)
def test_what_a_response_may_change_beyond_itself_is_noticed(values: dict[str, Any], acts: bool) -> None:
    assert Fields.of({"model": "m", **values}).acts is acts


def test_a_repr_shows_names_only() -> None:
    assert repr(Fields.of({"model": "m", "instructions": "secret"})) == "<Fields m: model, instructions>"


UNNAMED = {"type": "function_call_output", "name": CALL["name"], "output": "1"}
PROGRAM = {"type": "program", "caller_id": "prog_1"}


@pytest.mark.parametrize(
    "values",
    [
        [CALL, UNNAMED],
        [{**CALL, "caller": {"type": "direct"}}, {**UNNAMED, "call_id": None}],
        [{**CALL, "caller": PROGRAM, "namespace": "n"}, {**UNNAMED, "caller": PROGRAM, "namespace": "n"}],
        [CALL, {**CALL, "call_id": "call_2"}, UNNAMED, UNNAMED],
        [CALL, {**CALL, "call_id": "call_2"}, {**OUTPUT, "call_id": "call_2"}, UNNAMED],
    ],
)
def test_an_output_without_a_call_id_answers_a_call_of_its_function(values: list[dict[str, Any]]) -> None:
    checks(user("a"), *values, user("b"))


@pytest.mark.parametrize(
    "values",
    [
        [CALL, {**UNNAMED, "name": "other"}],
        [CALL, {**UNNAMED, "caller": PROGRAM}],
        [{**CALL, "namespace": "n"}, UNNAMED],
        [UNNAMED, CALL],
        [{**CALL, "call_id": "call_0"}, CALL, UNNAMED, {**UNNAMED, "name": "other"}],
    ],
)
def test_an_output_of_another_function_answers_no_call(values: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigurationError, match="without an output: call_1;"):
        checks(user("a"), *values, user("b"))


@pytest.mark.parametrize(
    ("given", "prewarming"),
    [
        ({}, {"prewarm": True}),
        ({"prompt_cache_options": {"ttl": "30m"}}, {"ttl": "30m", "prewarm": True}),
        ({"prompt_cache_options": None}, {"prewarm": True}),
    ],
)
def test_the_fields_of_a_warm_up_over_http_keep_the_options_of_the_cache(
    given: dict[str, Any], prewarming: dict[str, Any]
) -> None:
    fields = Fields.of({"model": "m", **given})
    assert fields.prewarming().values() == {"model": "m", "prompt_cache_options": prewarming}
    assert "prewarm" not in str(fields.values())


def test_received_fields_keep_their_bytes() -> None:
    fields = Fields.received({"model": b'"m"', "top_p": b"1e0", "user": b"null", "reasoning": b'{"a":null}'})
    assert fields.head == b'"model":"m","top_p":1e0,"reasoning":{}'
    assert fields.get("top_p") == 1.0
    named = fields.naming("resp_1")
    assert named.names_parent
    assert named.head == fields.head + b',"previous_response_id":"resp_1"'


@pytest.mark.parametrize(
    "members",
    [{}, {"model": b"7"}, {"model": b'"m"', "x": b"{"}, {"model": b'"m"', "x": b'{"a":1,"a":1}'}],
    ids=["no model", "no name", "no JSON", "a key twice"],
)
def test_received_fields_that_no_frame_can_have_are_refused(members: dict[str, bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - callers send the request elsewhere
        Fields.received(members)
