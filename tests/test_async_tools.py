"""Tools with ``async: true``: their calls stay open, and their outputs come turns later."""

from __future__ import annotations

from typing import Any

import pytest

import trunkline
from trunkline.emulator import Call, Emulator, Prompt, Say, Step, words

from .promise.canonical import canonical
from .talk import ask, assert_kept, output_for, record_of

REPORT = {"type": "function", "name": "report", "parameters": {"type": "object"}, "async": True}


def begins(prompt: Prompt) -> list[Step]:
    """Begin a report when the user wants one, and talk about anything else."""
    said = Say(words(f"You said {prompt.user_text}."))
    return [said, Call("report", "{}")] if prompt.user_text == "report" else [said]


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("is_added", [True, False])
async def test_the_output_of_an_async_call_comes_turns_later(
    emulator: Emulator, client: trunkline.Client, store: bool, is_added: bool
) -> None:
    """If ``is_added``, the tool stands in an item and not among the fields of the request."""
    emulator.add_model("begins", begins)
    tools: list[Any] = [] if is_added else [REPORT]
    added = {"type": "additional_tools", "role": "developer", "tools": [REPORT]}
    chat = client.conversation(model="begins", store=store, tools=tools, items=[added] if is_added else [])
    await ask(chat, "report")
    [call] = [item for item in chat.items if item.get("type") == "function_call"]
    for text in ("hello", "well?"):
        stream = await ask(chat, text)
        assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
    stream = await ask(chat, [output_for(call, "all is well")])
    assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
    emulator.forget()
    stream = await ask(chat, "thanks")
    seen = [item for item in record_of(emulator, stream).effective_context if "tools" not in item]
    held = [item for item in chat.items[:-1] if "tools" not in item]
    assert canonical(seen) == canonical(held)


def prepares(prompt: Prompt) -> list[Step]:
    """Begin a report and look at the weather; then say what has come in."""
    if prompt.outputs:
        return [Say(words(f"Got {len(prompt.outputs)}."))]
    return [Say(words("Let me see.")), Call("report", "{}"), Call("get_weather", '{"city": "Oslo"}')]


@pytest.mark.parametrize("store", [True, False])
async def test_a_run_goes_on_with_an_async_call_open(
    emulator: Emulator, client: trunkline.Client, store: bool
) -> None:
    executed: list[str] = []

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        executed.append(city)
        return "rain"

    emulator.add_model("prepares", prepares)
    chat = client.conversation(model="prepares", store=store, tools=[REPORT, get_weather])
    run = chat.run("the report and the weather")
    response = await run
    assert response.output_text.startswith("Got")
    assert (executed, len(run.metrics)) == (["Oslo"], 2)
    [call] = [item for item in chat.items if item.get("name") == "report"]
    # The call is open in a later run as well, whose tools are executed.
    response = await chat.run("and the weather?", model="tools")
    assert len(executed) >= 1
    response = await chat.run([output_for(call, "all is well")], model="echo")
    assert_kept(emulator, chat, response)
    answered = [item["call_id"] for item in chat.items if item["type"] == "function_call_output"]
    assert answered[-1] == call["call_id"]


async def test_a_run_ends_with_a_call_that_the_application_answers(
    emulator: Emulator, client: trunkline.Client
) -> None:
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        return "rain"

    emulator.add_model("prepares", prepares)
    chat = client.conversation(model="prepares", tools=[{**REPORT, "async": False}, get_weather])
    run = chat.run("the report and the weather")
    response = await run
    assert ([call["name"] for call in response.tool_calls], len(run.metrics)) == (["report"], 1)


async def test_a_call_of_another_tool_is_owed(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.add_model("begins", begins)
    chat = client.conversation(model="begins", tools=[{**REPORT, "async": False}])
    await ask(chat, "report")
    with pytest.raises(trunkline.ConfigurationError, match="without an output"):
        await ask(chat, "hello")


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("background_options", {"a": 1}, "use the HTTP API"), ("betas", ["x"], "OpenAI-Beta")],
)
async def test_fields_that_a_socket_does_not_take_are_refused(
    client: trunkline.Client, name: str, value: Any, remedy: str
) -> None:
    with pytest.raises(trunkline.ConfigurationError, match=remedy) as refused:
        client.conversation(model="m", extra_fields={name: value})
    assert refused.value.argument == name


@pytest.mark.parametrize("store", [True, False])
async def test_an_output_without_a_call_id_answers_the_call_of_its_function(
    emulator: Emulator, client: trunkline.Client, store: bool
) -> None:
    """Client and emulator agree: the function identifies the call, in a delta and in full."""
    emulator.add_model("prepares", prepares)
    chat = client.conversation(model="prepares", store=store, tools=[{**REPORT, "async": False}])
    await ask(chat, "report")
    new: list[Any] = [
        {"type": "function_call_output", "name": name, "output": "fine"} for name in ("report", "get_weather")
    ]
    with pytest.raises(trunkline.ConfigurationError, match="without an output"):
        chat.send(new[:1])
    stream = await ask(chat, new)
    assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 2)
    assert_kept(emulator, chat, stream.response)
    emulator.forget()
    stream = await ask(chat, "thanks")
    assert_kept(emulator, chat, stream.response)
