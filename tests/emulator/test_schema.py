"""Every event type that can be sent matches the openai package's types, in every field."""

from __future__ import annotations

from trunkline.emulator import Emulator, Prompt, Refuse, Step
from trunkline.emulator._protocol.events import EVENT_TYPES

from .openai_schema import check_compacted, check_item
from .wire import WEATHER, Wire, calls_of, output, wired

# The tests' client checks each received event, so these tests only have to cause all types.


HOSTED = [
    {"type": "web_search"},
    {
        "type": "mcp",
        "server_label": "wiki",
        "server_url": "https://mcp.example.com",
        "require_approval": "never",
    },
    {"type": "code_interpreter", "container": {"type": "auto"}},
]


def no(prompt: Prompt) -> list[Step]:
    return [Refuse(["I ", "will ", "not."])]


async def test_all_event_types_are_valid_to_the_letter() -> None:
    async with Emulator(tokens_per_second=500) as emulator, wired(emulator) as wire, wire.socket() as socket:
        emulator.add_model("no", no)
        custom = {"type": "custom", "name": "shell", "description": "Run a shell command."}
        await socket.response(model="no", input="x")
        await socket.response(model="reason", input="x", include=["reasoning.encrypted_content"])
        await socket.response(model="mixed", input="weather in Oslo", tools=[WEATHER], stream_id="mixed")
        await socket.response(model="tools", input="shell: ls", tools=[custom], stream_id="custom")
        await socket.response(model="hosted", input="x", tools=HOSTED, user="someone", stream_id="hosted")
        await socket.turn(model="fail-server_error", input="x")
        await socket.turn(model="fail-after-3-rate_limit_exceeded", input="x", stream_id="fail")
        await socket.turn(model="refuse-429-rate_limit_exceeded", input="x", stream_id="refused")
        await socket.turn(model="words-9", input="x", max_output_tokens=3)
        await socket.response(
            input="x" * 400, context_management=[{"type": "compaction", "compact_threshold": 50}]
        )
        # Steered during a message, during a tool call, and after the end.
        gate = emulator.faults.hold(event=6)
        await socket.create(model="words-500", input="x")
        created = (await socket.until("response.output_text.delta"))[0]["response"]["id"]
        await socket.send(type="response.steer", previous_response_id=created, input="stop")
        await socket.until("response.steer.accepted")
        gate.open()
        await socket.until("response.incomplete")
        await socket.until("response.output_text.delta")
        await socket.send(type="response.steer", previous_response_id=created, input="too late")
        await socket.until("response.steer.failed")
        gate = emulator.faults.hold(event_type="response.function_call_arguments.done", lane="a")
        await socket.create(model="mixed", input="weather in Oslo", tools=[WEATHER], stream_id="a")
        events = await socket.until("response.function_call_arguments.delta")
        created = next(e for e in events if e["type"] == "response.created")["response"]["id"]
        await socket.send(type="response.steer", previous_response_id=created, input="in Celsius")
        await socket.until("response.steer.accepted")
        gate.open()
        await socket.until("response.steer.pending")
        seen = {event["type"] for event in socket.seen}
        background = await wire.sse(input="x", background=True)
        seen |= {name for name, _ in background}
    assert seen == EVENT_TYPES


async def test_every_kind_of_resource_is_valid_to_the_letter(wire: Wire) -> None:
    everything = {
        "instructions": "Be brief.",
        "tools": [
            WEATHER,
            {
                "type": "custom",
                "name": "shell",
                "format": {"type": "grammar", "syntax": "regex", "definition": "x"},
            },
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "parallel_tool_calls": False,
        "max_output_tokens": 1000,
        "max_tool_calls": 3,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_logprobs": 3,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {
            "format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}},
            "verbosity": "low",
        },
        "truncation": "auto",
        "service_tier": "flex",
        "metadata": {"a": "b"},
        "safety_identifier": "someone",
        "prompt_cache_key": "key",
        "user": "someone",
        "include": ["reasoning.encrypted_content"],
    }
    status, response = await wire.post(model="gpt-6-astra", input="x", **everything)
    assert status == 200
    for name in ("instructions", "max_output_tokens", "metadata", "top_p", "service_tier", "truncation"):
        assert response[name] == everything[name]


async def test_input_items_of_all_shapes_are_listed_validly(wire: Wire) -> None:
    _, called = await wire.post(model="tools", input="weather in Oslo", tools=[WEATHER])
    (call,) = calls_of(called)
    items = [
        {"role": "user", "content": "plain"},
        {"role": "assistant", "content": "plain"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "part"}]},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
                {"type": "input_file", "file_data": "data:text/plain;base64,AA==", "filename": "a.txt"},
            ],
        },
        {"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "call_a",
            "output": [{"type": "input_text", "text": "1"}],
        },
        {"type": "custom_tool_call", "call_id": "call_b", "name": "f", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "call_b", "output": "1"},
        call,
        output(call),
    ]
    _, response = await wire.post(input=items)
    status, page = await wire.call("GET", f"/responses/{response['id']}/input_items?order=asc&limit=100")
    assert status == 200
    assert len(page["data"]) == len(items)
    for item in page["data"]:
        check_item(item)


async def test_compaction_is_valid_to_the_letter(wire: Wire) -> None:
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    status, answer = await wire.call("POST", "/responses/compact", json={"model": "echo", "input": history})
    assert status == 200
    check_compacted(answer)
