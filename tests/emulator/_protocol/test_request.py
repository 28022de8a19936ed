"""Requests are refused with the service's status, code, parameter and message."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.emulator import ApiError
from trunkline.emulator._protocol.request import check_create, decode
from trunkline.emulator._protocol.request_fields import FIELDS

from ..wire import WEATHER, Socket, Wire

FORMAT = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}

REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model": None}, "invalid_type", "model", "expected a string, but got null"),
    ({"model": ""}, "empty_string", "model", "empty string"),
    ({"model": 7}, "invalid_type", "model", "expected a string, but got an integer"),
    ({"input": 7}, "invalid_type", "input", "one of an array of objects or a string, but got an integer"),
    ({"input": [7]}, "invalid_type", "input[0]", "expected an object, but got an integer"),
    ({"input": [{}]}, "missing_required_parameter", "input[0].type", "Missing required parameter"),
    ({"input": [{"type": "nonsense"}]}, "invalid_value", "input[0].type", "Invalid value: 'nonsense'"),
    ({"input": [{"role": "robot", "content": "x"}]}, "invalid_value", "input[0].role", "'user', 'system'"),
    ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content", "Missing"),
    ({"input": [{"role": "user", "content": None}]}, "invalid_type", "input[0].content", "but got null"),
    ({"input": [{"role": "user", "content": "x", "x": 1}]}, "unknown_parameter", "input[0].x", "Unknown"),
    (
        {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
        "invalid_value",
        "input[0].content[0].type",
        "Supported values are: 'input_text', 'input_image', and 'input_file'.",
    ),
    (
        {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
        "invalid_value",
        "input[0].content[0].type",
        "Supported values are: 'output_text' and 'refusal'.",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "missing_required_parameter",
        "input[0].content[0].image_url",
        "Missing",
    ),
    (
        {"input": [{"role": "assistant", "content": "x", "status": None}]},
        "invalid_type",
        "input[0].status",
        "expected one of 'in_progress', 'completed', or 'incomplete', but got null instead",
    ),
    (
        {"input": [{"role": "assistant", "content": "x", "id": "abc"}]},
        "invalid_value",
        "input[0].id",
        "Expected an ID that begins with 'msg'",
    ),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
        "invalid_type",
        "input[0].arguments",
        "expected a string, but got an object",
    ),
    (
        {"input": [{"type": "function_call_output", "output": "x"}]},
        "missing_required_parameter",
        "input[0].call_id",
        "Missing",
    ),
    ({"instructions": 7}, "invalid_type", "instructions", "expected a string"),
    ({"tools": {}}, "invalid_type", "tools", "expected an array of objects, but got an object"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name", "Missing"),
    ({"tools": [{"type": "magic"}]}, "invalid_value", "tools[0].type", "Invalid value: 'magic'"),
    ({"tools": [WEATHER | {"name": "a b"}]}, "invalid_value", "tools[0].name", "does not match pattern"),
    ({"tools": [WEATHER | {"extra": 1}]}, "unknown_parameter", "tools[0].extra", "Unknown parameter"),
    ({"tool_choice": None}, "invalid_type", "tool_choice", "expected one of 'none', 'auto', or 'required'"),
    ({"tool_choice": "maybe"}, "invalid_value", "tool_choice", "Supported values are: 'none', 'auto', and"),
    ({"truncation": None}, "invalid_type", "truncation", "one of 'auto' or 'disabled', but got null instead"),
    ({"truncation": "yes"}, "invalid_value", "truncation", "Supported values are: 'auto' and 'disabled'."),
    ({"service_tier": None}, "invalid_type", "service_tier", "but got null instead"),
    ({"text": {"verbosity": None}}, "invalid_type", "text.verbosity", "'low', 'medium', or 'high'"),
    ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format.type", "'xml'"),
    ({"text": {"format": FORMAT | {"name": "a b"}}}, "invalid_value", "text.format.name", "pattern"),
    ({"reasoning": {"effort": None}}, "invalid_type", "reasoning.effort", "but got null instead"),
    ({"reasoning": {"effort": "huge"}}, "invalid_value", "reasoning.effort", "Invalid value: 'huge'"),
    ({"include": ["everything"]}, "invalid_value", "include[0]", "Invalid value: 'everything'"),
    ({"temperature": "hot"}, "invalid_type", "temperature", "expected a decimal number, but got a string"),
    ({"temperature": 3}, "decimal_above_max_value", "temperature", "Expected a value <= 2, but got 3"),
    ({"top_p": -1}, "decimal_below_min_value", "top_p", "Expected a value >= 0, but got -1"),
    ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens", "Expected a value >= 1"),
    (
        {"max_output_tokens": 1.5},
        "invalid_type",
        "max_output_tokens",
        "expected an integer, but got a decimal",
    ),
    ({"store": "yes"}, "invalid_type", "store", "expected a boolean, but got a string"),
    ({"parallel_tool_calls": 1}, "invalid_type", "parallel_tool_calls", "expected a boolean"),
    ({"metadata": {"a": 1}}, "invalid_type", "metadata.a", "expected a string, but got an integer"),
    ({"metadata": {"a": "x" * 513}}, "string_above_max_length", "metadata.a", "maximum length 512"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "object_above_max_length", "metadata", "too long"),
    ({"previous_response_id": 7}, "invalid_type", "previous_response_id", "expected a string"),
    ({"nonsense": 1}, "unknown_parameter", "nonsense", "Unknown parameter: 'nonsense'."),
]

NAMES = (
    "type",
    "role",
    "content",
    "text",
    "name",
    "call_id",
    "output",
    "id",
    "mode",
    "tools",
    "effort",
    "format",
)
ONLY_HTTP = ("stream", "stream_options", "background")


@pytest.mark.parametrize(("change", "code", "param", "words"), REFUSED)
async def test_a_bad_field_is_named(
    socket: Socket, change: dict[str, Any], code: str, param: str, words: str
) -> None:
    error = await socket.refused(**{"input": "x"} | change)
    assert (error["status"], error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == (code, param)
    assert words in error["message"]


@pytest.mark.parametrize(("change", "code", "param", "words"), REFUSED[::6])
async def test_http_is_as_strict(
    wire: Wire, change: dict[str, Any], code: str, param: str, words: str
) -> None:
    status, body = await wire.post(**{"input": "x"} | change)
    assert status == 400
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)


async def test_a_request_without_a_model_is_refused(socket: Socket) -> None:
    await socket.send(type="response.create", input="x")
    event = await socket.receive()
    assert event["error"]["code"] == "missing_required_parameter"
    assert event["error"]["message"] == "Missing required parameter: 'model'."


@pytest.mark.parametrize("name", ONLY_HTTP)
@pytest.mark.parametrize("value", [True, False, None])
async def test_fields_of_http_are_refused_on_the_socket(socket: Socket, name: str, value: object) -> None:
    if (name, value) == ("stream", True):
        await socket.response(input="x", stream=True)
        return
    error = await socket.refused(input="x", **{name: value})
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)


async def test_betas_are_refused_with_the_header_to_send(wire: Wire, socket: Socket) -> None:
    error = await socket.refused(input="x", betas=["x"])
    assert (error["code"], error["param"]) == ("unsupported_parameter", "betas")
    assert "send the header 'OpenAI-Beta'" in error["message"]
    status, body = await wire.post(input="x", betas=["x"])
    assert (status, body["error"]["message"]) == (400, error["message"])


async def test_a_compaction_trigger_must_be_the_last_item(wire: Wire) -> None:
    trigger, message = {"type": "compaction_trigger"}, {"role": "user", "content": "hi"}
    status, body = await wire.post(input=[message, trigger, message])
    assert (status, body["error"]["param"]) == (400, "input[1]")
    status, _ = await wire.post(input=[message, trigger])
    assert status == 200


@pytest.mark.parametrize("name", ["generate", "stream_id", "type"])
async def test_fields_of_the_socket_are_refused_over_http(wire: Wire, name: str) -> None:
    status, body = await wire.post(input="x", **{name: "x"})
    assert (status, body["error"]["code"]) == (400, "unknown_parameter")


async def test_unknown_types_of_frames_are_refused(socket: Socket) -> None:
    for body, param in (
        ({"type": "response.cancel"}, "type"),
        ({"type": 7}, "type"),
        ({"model": "x"}, "type"),
    ):
        await socket.send(**body)
        event = await socket.receive()
        assert (event["status"], event["error"]["param"]) == (400, param)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null", "\x00", '{"a": 1e999}x', "[" * 100_000])
async def test_what_is_no_json_object_is_refused_and_the_socket_goes_on(socket: Socket, text: str) -> None:
    await socket.raw.send_str(text)
    event = await socket.receive()
    assert event["status"] == 400
    await socket.response(input="x")


async def test_binary_frames_are_read_like_text(socket: Socket) -> None:
    await socket.raw.send_bytes(b'{"type":"response.create","model":"echo","input":"x"}')
    await socket.until("response.completed")
    await socket.raw.send_bytes(b"\xff\xfe")
    assert (await socket.receive())["error"]["code"] == "invalid_json"


async def test_something_has_to_be_said(socket: Socket) -> None:
    bodies: list[dict[str, Any]] = [{}, {"input": None}, {"input": []}, {"input": ""}]
    for body in bodies:
        error = await socket.refused(**body)
        assert (error["code"], error["param"]) == ("missing_required_parameter", "input")


async def test_a_choice_of_tool_needs_the_tool(socket: Socket) -> None:
    error = await socket.refused(input="x", tool_choice="required")
    assert error["param"] == "tool_choice"
    error = await socket.refused(
        input="x", tools=[WEATHER], tool_choice={"type": "function", "name": "other"}
    )
    assert error["message"] == "Tool choice 'other' not found in 'tools' parameter."


def test_nulls_stand_for_what_is_unset_where_no_enumeration_is_expected() -> None:
    nulls = dict.fromkeys(("instructions", "tools", "metadata", "temperature", "store", "include", "text"))
    request = check_create({"model": "echo", "input": "x", **nulls}, transport="http")
    assert (request.store, request.tools, request.include) == (True, [], [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, max_size=6), st.sampled_from(["websocket", "http"])
)
def test_whatever_comes_is_accepted_or_refused_and_never_crashes(
    body: dict[str, Any], transport: str
) -> None:
    with contextlib.suppress(ApiError):
        check_create({"model": "echo", "input": "x"} | body, transport=transport)


def test_decoding_refuses_everything_but_objects() -> None:
    assert decode(b'{"a": 1}') == {"a": 1}
    with pytest.raises(ApiError) as refusal:
        decode(b"7")
    assert "expected an object, but got an integer" in refusal.value.message
