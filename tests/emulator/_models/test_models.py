"""The deterministic models, as functions and through the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline.emulator import Call, Emulator, Prompt, Reason, Say, Step
from trunkline.emulator._models.context import Context
from trunkline.emulator._models.models import script
from trunkline.emulator._models.sampling import sample, subjects

from ..wire import WEATHER, Socket, Wire, calls_of, output, text_of, wired

CALENDAR = {
    "type": "function",
    "name": "add_appointment",
    "description": "Put something into the calendar.",
    "parameters": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
}


def prompt(text: str, **settings: Any) -> Prompt:
    message = {"role": "user", "content": text}
    given: dict[str, Any] = {"model": "tools", "context": Context(None, (message,)), "tools": [WEATHER]}
    return Prompt(**(given | settings))


def said(steps: Any) -> str:
    return "".join(delta for step in steps if isinstance(step, Say) for delta in step.deltas)


def called(steps: Any) -> list[tuple[str, Any]]:
    return [(step.name, json.loads(step.arguments)) for step in steps if isinstance(step, Call)]


def test_echo_says_what_the_user_said() -> None:
    assert said(script(prompt("Hello  big\nworld ", model="echo"))) == "Hello  big\nworld "


def test_words_are_as_many_as_asked_and_always_the_same() -> None:
    text = said(script(prompt("x", model="words-40")))
    assert len(text.split()) == 40
    assert text == said(script(prompt("y", model="words-40")))


def test_a_tool_is_called_when_the_message_speaks_of_it() -> None:
    assert called(script(prompt("How is the weather in Oslo?"))) == [("get_weather", {"city": "Oslo"})]


def test_several_subjects_make_parallel_calls() -> None:
    steps = list(script(prompt("weather in Oslo and Bergen?")))
    assert called(steps) == [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Bergen"})]


def test_several_tools_make_parallel_calls_unless_it_is_forbidden() -> None:
    text = "The weather in Oslo, and put it into the calendar"
    both = prompt(text, tools=[WEATHER, CALENDAR])
    assert [name for name, _ in called(script(both))] == ["get_weather", "add_appointment"]
    one = prompt(text, tools=[WEATHER, CALENDAR], parallel_tool_calls=False)
    assert len(called(script(one))) == 1


@pytest.mark.parametrize("model", ["tools", "gpt-6-astra", "anything-else"])
def test_other_messages_are_answered_in_words(model: str) -> None:
    assert said(script(prompt("How are you?", model=model))) == "You said: How are you?"


def test_outputs_are_quoted_in_the_answer() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "c", "output": "12 degrees"}
    context = Context(None, ({"role": "user", "content": "weather in Oslo"}, call, answer))
    steps = list(script(prompt("", context=context)))
    assert not called(steps)
    assert "12 degrees" in said(steps)
    again = context.extended([{"role": "user", "content": "weather in Bergen"}])
    assert called(script(prompt("", context=again))) == [("get_weather", {"city": "Bergen"})]


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ("none", 0),
        ("auto", 1),
        ("required", 1),
        ({"type": "function", "name": "add_appointment"}, 1),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]}, 0),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"name": "add_appointment"}]}, 1),
    ],
)
def test_tool_choice_is_obeyed(choice: Any, count: int) -> None:
    steps = script(prompt("weather in Oslo", tools=[WEATHER, CALENDAR], tool_choice=choice))
    calls = called(steps)
    assert len(calls) == count
    if isinstance(choice, dict) and count:
        assert calls[0][0] == "add_appointment"


def test_a_required_call_needs_no_matching_word() -> None:
    assert len(called(script(prompt("hello", tool_choice="required")))) == 1


def test_mixed_thinks_speaks_and_calls() -> None:
    kinds = [type(step) for step in script(prompt("hello", model="mixed"))]
    assert kinds == [Reason, Say, Call]


async def test_hosted_tools_are_called_and_a_server_lists_its_tools_once(wire: Wire) -> None:
    mcp = {"type": "mcp", "server_label": "wiki", "server_url": "https://mcp.example.com"}
    body = {"model": "hosted", "tools": [{"type": "web_search"}, mcp], "user": "someone"}
    _, first = await wire.post(input="x", **body)
    kinds = [item["type"] for item in first["output"]]
    assert kinds == ["reasoning", "web_search_call", "mcp_list_tools", "mcp_call", "message"]
    assert first["output"][3]["output"] == "found for someone"
    _, second = await wire.post(input="y", previous_response_id=first["id"], **body)
    assert [item["type"] for item in second["output"]] == [kind for kind in kinds if kind != "mcp_list_tools"]


async def test_a_call_of_a_hosted_tool_that_is_cut_off_has_no_result(wire: Wire) -> None:
    python = {"type": "code_interpreter", "container": {"type": "auto"}}
    _, response = await wire.post(model="hosted", input="long " * 9, tools=[python], max_output_tokens=6)
    call = response["output"][-1]
    assert (call["type"], call["status"], call["outputs"]) == ("code_interpreter_call", "incomplete", None)
    assert response["status"] == "incomplete"


SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["kelvin", "celsius"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 5},
        "when": {"type": "string", "format": "date"},
        "detailed": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "place": {"$ref": "#/$defs/place"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "kind": {"const": "forecast"},
        "ratio": {"type": ["number", "null"], "exclusiveMinimum": 0, "multipleOf": 0.5},
    },
    "required": ["city", "unit", "days", "when", "detailed", "tags", "place", "note", "kind", "ratio"],
    "$defs": {"place": {"type": "object", "properties": {"inner": {"$ref": "#/$defs/place"}}}},
}


def test_arguments_are_valid_under_the_schema() -> None:
    value = sample(SCHEMA, "weather in Oslo in celsius for 9 days")
    assert value == {
        "city": "Oslo",
        "unit": "celsius",
        "days": 5,
        "when": "2026-01-31",
        "detailed": True,
        "tags": ["Oslo", "Oslo"],
        "place": {},
        "note": "Oslo",
        "kind": "forecast",
        "ratio": 9.0,
    }


def test_recursive_schemas_end() -> None:
    tree: dict[str, Any] = {
        "type": "object",
        "properties": {
            "value": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#"}},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["value", "children", "next"],
    }
    json.dumps(sample(tree, "x"))


def test_subjects_are_names_or_what_follows_a_preposition() -> None:
    assert subjects("What is the weather in Oslo and New York?") == ["Oslo", "New York"]
    assert subjects("weather for paris") == ["paris"]
    assert subjects("hello") == []


async def test_a_tool_conversation_runs_to_its_answer(socket: Socket) -> None:
    first = await socket.response(model="gpt-6-astra", input="weather in Oslo and Bergen?", tools=[WEATHER])
    calls = calls_of(first)
    assert [json.loads(call["arguments"]) for call in calls] == [{"city": "Oslo"}, {"city": "Bergen"}]
    outputs = [output(calls[1], "7 degrees"), output(calls[0], "12 degrees")]
    second = await socket.response(
        model="gpt-6-astra", input=outputs, tools=[WEATHER], previous_response_id=first["id"]
    )
    assert "12 degrees" in text_of(second)
    assert "7 degrees" in text_of(second)


async def test_custom_tools_are_called_with_plain_text(socket: Socket) -> None:
    shell = {"type": "custom", "name": "shell", "description": "Run a shell command."}
    first = await socket.response(model="tools", input="run in a shell: ls", tools=[shell])
    (call,) = first["output"]
    assert (call["type"], call["input"]) == ("custom_tool_call", "run in a shell: ls")
    answer = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "a.txt"}
    second = await socket.response(
        model="tools", input=[answer], tools=[shell], previous_response_id=first["id"]
    )
    assert "a.txt" in text_of(second)


async def test_json_is_answered_where_json_is_asked_for(wire: Wire) -> None:
    wanted = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}
    _, response = await wire.post(model="gpt-6-astra", input="in Oslo", text={"format": wanted})
    assert json.loads(text_of(response))["city"] == "Oslo"
    _, response = await wire.post(input="hello", text={"format": {"type": "json_object"}})
    assert json.loads(text_of(response)) == {"answer": "hello"}


async def test_output_ends_at_its_limit(socket: Socket) -> None:
    event = await socket.turn(model="words-9", input="x", max_output_tokens=4)
    assert event["type"] == "response.incomplete"
    response = event["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert len(text_of(response).split()) == 4
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 4
    assert (await socket.turn(model="words-9", input="x", max_output_tokens=9))[
        "type"
    ] == "response.completed"
    await socket.response(input="more", previous_response_id=response["id"])


async def test_a_call_cut_by_the_limit_is_owed_no_output(socket: Socket) -> None:
    event = await socket.turn(model="tools", input="weather in Oslo", tools=[WEATHER], max_output_tokens=1)
    (call,) = calls_of(event["response"])
    assert call["status"] == "incomplete"
    await socket.response(input="never mind", previous_response_id=event["response"]["id"])


async def test_failures_come_with_their_code(socket: Socket) -> None:
    await socket.create(model="fail-after-3-rate_limit_exceeded", input="x")
    events = await socket.until("response.failed")
    assert [event["type"] for event in events].count("response.output_text.delta") == 3
    response = events[-1]["response"]
    assert response["error"]["code"] == "rate_limit_exceeded"
    assert (response["status"], response["usage"], response["output"]) == ("failed", None, [])
    error = await socket.refused(model="refuse-429-slow_down", input="x")
    assert (error["status"], error["code"], error["type"]) == (429, "slow_down", "rate_limit_error")


async def test_refusals_over_http_have_their_status(wire: Wire) -> None:
    status, body = await wire.post(model="refuse-503-server_error", input="x")
    assert (status, body["error"]["code"]) == (503, "server_error")


async def test_reasoning_is_sealed_only_when_asked_for(socket: Socket) -> None:
    plain = await socket.response(model="reason-5", input="x")
    sealed = await socket.response(model="reason-5", input="x", include=["reasoning.encrypted_content"])
    assert "encrypted_content" not in plain["output"][0]
    assert sealed["output"][0]["encrypted_content"]
    assert len(plain["output"][0]["summary"][0]["text"].split()) == 5
    assert plain["usage"]["output_tokens_details"] == {"reasoning_tokens": 5}
    assert plain["usage"]["output_tokens"] == 6


async def test_images_and_files_are_accepted(emulator: Emulator, socket: Socket) -> None:
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_file", "file_id": "file_1"},
    ]
    response = await socket.response(model="gpt-6-astra", input=[{"role": "user", "content": content}])
    assert text_of(response) == "You said: What is this?"
    assert emulator.effective_context(response["id"]) == [{"role": "user", "content": content}]


async def test_models_of_ones_own_can_be_added(emulator: Emulator, socket: Socket) -> None:
    def parrot(prompt: Prompt) -> list[Step]:
        return [Say([f"{len(list(prompt.context.newest_first()))} items"])]

    emulator.add_model("parrot", parrot)
    first = await socket.response(model="parrot", input="x")
    second = await socket.response(model="parrot", input="y", previous_response_id=first["id"])
    assert (text_of(first), text_of(second)) == ("1 items", "3 items")


async def test_another_model_can_stand_behind_unknown_names() -> None:
    async with Emulator(default_model="words-3") as emulator, wired(emulator) as wire:
        _, response = await wire.post(model="gpt-6-astra", input="x")
        assert len(text_of(response).split()) == 3
        _, response = await wire.post(model="echo", input="x")
        assert text_of(response) == "x"
