"""The prefix rule of ``gpt-6.2-*`` models, over a socket and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trunkline.emulator import Call, Emulator, Prompt, Reason, Say, Step

from ..wire import WEATHER, Event, Socket, Wire, text_of, wired

MODEL = "gpt-6.2-astra"
INCLUDE = ["reasoning.encrypted_content"]


def thinks(prompt: Prompt) -> list[Step]:
    return [Reason(["Let me think."]), Say(["Hello."])]


@asynccontextmanager
async def connected(wire: Wire, **headers: str) -> AsyncIterator[Socket]:
    """A socket that asks for reasoning that can be sent again."""
    async with wire.socket(headers=headers) as socket:
        yield socket


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Emulator() as emulator, wired(emulator) as client:
        for model in (MODEL, "gpt-6.2-luna", "gpt-6-astra"):
            emulator.add_model(model, thinks)
        yield client


def user(text: str) -> Event:
    return {"type": "message", "role": "user", "content": text}


async def turn(socket: Socket, **body: Any) -> Event:
    return await socket.response(**{"model": MODEL, "store": False, "include": INCLUDE} | body)


def resent(response: Event) -> list[Event]:
    """The output as an application sends it again: messages of unstored responses have no id."""
    return [
        {name: value for name, value in item.items() if name != "id" or item["type"] != "message"}
        for item in response["output"]
    ]


def removed(response: Event) -> list[str]:
    """The reasons for removed reasoning."""
    found = response["input_transformations"]
    assert all((each["type"], each["action"]) == ("reasoning", "removed") for each in found)
    return [each["reason"] for each in found]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, []),
        ({"instructions": "Be brief."}, []),
        ({"tool_choice": "none"}, []),
        ({"prompt_cache_key": "other"}, []),
        ({"tools": [WEATHER]}, ["prefix_mismatch"]),
        ({"reasoning": {"effort": "low"}}, ["prefix_mismatch"]),
        ({"text": {"format": {"type": "json_object"}}}, ["prefix_mismatch"]),
        ({"model": "gpt-6.2-luna"}, ["model_mismatch"]),
        ({"safety_identifier": "somebody"}, ["end_user_mismatch"]),
        ({"user": "somebody"}, ["end_user_mismatch"]),
        ({"user": "somebody", "model": "gpt-6.2-luna", "tools": [WEATHER]}, ["end_user_mismatch"]),
    ],
)
@pytest.mark.parametrize("in_full", [True, False])
async def test_a_changed_setting_drops_old_reasoning_and_says_so(
    wire: Wire, change: dict[str, Any], reasons: list[str], in_full: bool
) -> None:
    async with connected(wire) as socket:
        first = await turn(socket, input=[user("hi")])
        if in_full:
            second = await turn(socket, input=[user("hi"), *resent(first), user("ho")], **change)
        else:
            second = await turn(socket, input=[user("ho")], previous_response_id=first["id"], **change)
        assert removed(second) == reasons
        record = wire.emulator.responses[second["id"]]
        kinds = [item["type"] for item in record.effective_context]
        assert kinds.count("reasoning") == 1 - len(reasons)
        assert kinds.count("message") == 3
        assert record.dropped_reasoning == second["input_transformations"]


async def test_another_organization_loses_reasoning(wire: Wire) -> None:
    async with connected(wire, **{"OpenAI-Organization": "org-one"}) as socket:
        first = await turn(socket, input=[user("hi")])
    async with connected(wire, **{"OpenAI-Organization": "org-two"}) as socket:
        second = await turn(socket, input=[user("hi"), *resent(first), user("ho")])
    assert removed(second) == ["organization_mismatch"]
    body = {"model": MODEL, "input": [user("hi"), *resent(first), user("ho")]}
    headers = {"OpenAI-Organization": "org-one"}
    status, third = await wire.call("POST", "/responses", json=body, headers=headers)
    assert (status, removed(third)) == (200, [])


@pytest.mark.parametrize("edited", [0, 1, 2, 3, 4])
async def test_an_edited_item_drops_the_reasoning_after_it(wire: Wire, edited: int) -> None:
    async with connected(wire) as socket:
        items = [user("one")]
        for text in ("two", "three"):
            items += [*resent(await turn(socket, input=items)), user(text)]
        assert [item["type"] for item in items[:4]] == ["message", "reasoning", "message", "message"]
        if items[edited]["type"] == "reasoning":
            changed = items[:edited] + items[edited + 1 :]
        else:
            other = {"role": items[edited]["role"], "content": "something else"}
            changed = [*items[:edited], other, *items[edited + 1 :]]
        last = await turn(socket, input=changed)
        assert len(removed(last)) == {0: 2, 1: 1, 2: 1, 3: 1, 4: 0}[edited]


async def test_the_same_item_in_other_words_is_no_edit(wire: Wire) -> None:
    async with connected(wire) as socket:
        first = await turn(socket, input=[user("hi")])
        reasoning, message = first["output"]
        text = message["content"][0]["text"]
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": reasoning["encrypted_content"]},
            {"role": "assistant", "content": text, "phase": "final_answer"},
            user("ho"),
        ]
        assert removed(await turn(socket, input=items)) == []
        items[0] = user("hello")
        last = await turn(socket, input=items)
        assert last["input_transformations"][0]["id"] == reasoning["id"]


async def test_reasoning_of_an_older_model_is_dropped_and_older_models_drop_nothing(wire: Wire) -> None:
    async with connected(wire) as socket:
        first = await turn(socket, model="gpt-6-astra", input=[user("hi")])
        assert "input_transformations" not in first
        items = [user("hi"), *resent(first), user("ho")]
        second = await turn(socket, input=items)
        assert removed(second) == ["model_mismatch"]
        third = await turn(socket, model="gpt-6-astra", input=[user("hello"), *items[1:]])
        assert "input_transformations" not in third
        assert len(wire.emulator.effective_context(third["id"])) == 4


async def test_appended_items_change_tools_and_format_and_keep_reasoning(wire: Wire) -> None:
    def calls(prompt: Prompt) -> list[Step]:
        return [Reason(["Let me think."]), *(Call(tool["name"], "{}") for tool in prompt.callable_tools)]

    wire.emulator.add_model(MODEL, calls)
    async with connected(wire) as socket:
        first = await turn(socket, input=[user("hi")])
        tools = {"type": "additional_tools", "role": "developer", "tools": [WEATHER]}
        second = await turn(socket, input=[tools, user("ho")], previous_response_id=first["id"])
        assert removed(second) == []
        assert [item["name"] for item in second["output"] if item["type"] == "function_call"] == [
            "get_weather"
        ]
    wire.emulator.add_model("gpt-6.2-echo", lambda prompt: [Say([prompt.text_format["type"]])])
    update = {"type": "configuration_update", "text": {"format": {"type": "json_object"}}}
    effort = {"type": "configuration_update", "reasoning": {"effort": "high"}}
    _, answered = await wire.post(model="gpt-6.2-echo", input=[update, effort, user("hi")])
    assert text_of(answered) == "json_object"


async def test_after_a_compaction_the_prefix_begins_anew(wire: Wire) -> None:
    async with connected(wire) as socket:
        management = [{"type": "compaction", "compact_threshold": 20}]
        first = await turn(socket, input=[user("hi " * 60)], context_management=management)
        assert first["output"][0]["type"] == "compaction"
        second = await turn(socket, input=[user("ho")], previous_response_id=first["id"])
        assert removed(second) == []
        assert removed(await turn(socket, input=[*resent(first), user("ho")])) == []


async def test_instructions_are_not_cached(wire: Wire) -> None:
    async with connected(wire) as socket:
        body = {"instructions": "Be brief. " * 600, "tools": [WEATHER]}
        cached = {}
        for model in (MODEL, "gpt-6-astra"):
            first = await turn(socket, model=model, input=[user("word " * 2000)], **body)
            second = await turn(
                socket, model=model, input=[user("ho")], previous_response_id=first["id"], **body
            )
            assert first["usage"]["input_tokens"] > 4000
            cached[model] = second["usage"]["input_tokens_details"]["cached_tokens"]
        assert 2400 < cached[MODEL] < 3000 < 3900 < cached["gpt-6-astra"]
        changed = await turn(socket, input=[user("x " * 6000)], instructions="One.")
        body = {"instructions": "Another.", "previous_response_id": changed["id"]}
        last = await turn(socket, input=[user("ho")], **body)
        assert last["usage"]["input_tokens_details"]["cached_tokens"] > 2900


@pytest.mark.parametrize(
    ("field", "param", "code"),
    [
        ({"temperature": 1}, "temperature", "unsupported_parameter"),
        ({"top_p": 0.5}, "top_p", "unsupported_parameter"),
        ({"top_logprobs": 0}, "top_logprobs", "unsupported_parameter"),
        ({"include": ["message.output_text.logprobs"]}, "include", "unsupported_parameter"),
        ({"reasoning": {"effort": "none"}}, "reasoning.effort", "unsupported_value"),
    ],
)
async def test_some_fields_must_be_left_out(wire: Wire, field: dict[str, Any], param: str, code: str) -> None:
    status, body = await wire.post(model=MODEL, input="hi", **field)
    assert (status, body["error"]["param"], body["error"]["code"]) == (400, param, code)
    status, _ = await wire.post(model="gpt-6-astra", input="hi", **field)
    assert status == 200


async def test_origins_beyond_the_history_are_forgotten() -> None:
    async with Emulator(history=2) as emulator, wired(emulator) as wire, connected(wire) as socket:
        emulator.add_model(MODEL, thinks)
        items = [user("one")]
        for text in ("two", "three", "four"):
            items += [*resent(await turn(socket, input=items)), user(text)]
        items[0] = user("another")
        assert len(removed(await turn(socket, input=items))) == 2
