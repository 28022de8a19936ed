"""Switching is one import: the same parameters, the same requests."""

from __future__ import annotations

import inspect
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import NOT_GIVEN, APIStatusError, Plugin, function_tool
from livekit.agents.inference.llm import min_reasoning_effort
from livekit.agents.llm import CacheBreakpoint, ChatContext, ImageContent, ToolContext
from livekit.agents.utils import http_context
from livekit.plugins import openai, trunkline
from openai.types import Reasoning
from pydantic import BaseModel
from trunkline.emulator import Emulator

from .talk import ask, bodies, context

HERE = Path(__file__).parent.parent
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAA"
    "AfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@function_tool
async def get_weather(city: str, days: int = 1) -> str:
    """Look up the weather.

    Args:
        city: where.
        days: how many.
    """
    return city


@function_tool(
    raw_schema={"name": "hang_up", "description": "End the call.", "parameters": {"type": "object"}}
)
async def hang_up(raw_arguments: dict[str, Any]) -> str:
    return "bye"


OURS_ALONE = {
    "extra_headers",
    "lanes",
    "prompt_cache_key",
    "response_format",
    "safety_identifier",
    "strict_tool_schema",
    "top_p",
    "truncation",
}


def parameters(function: Any) -> dict[str, tuple[Any, Any]]:
    return {
        name: (given.kind, given.default) for name, given in inspect.signature(function).parameters.items()
    }


@pytest.mark.parametrize("method", ["__init__", "chat", "prewarm", "aclose"])
def test_the_parameters_are_those_of_the_openai_plugin(method: str) -> None:
    ours, theirs = (parameters(getattr(kind, method)) for kind in (trunkline.LLM, openai.responses.LLM))
    assert {name: ours.get(name) for name in theirs} == theirs
    assert set(ours) - set(theirs) <= OURS_ALONE


def test_names_are_those_of_the_openai_plugin() -> None:
    assert trunkline.responses.LLM is trunkline.LLM
    llm = trunkline.LLM(model="gpt-6-astra", api_key="sk-x", base_url="https://gateway.example:8443/v1")
    assert (llm.model, llm.provider) == ("gpt-6-astra", "gateway.example:8443")
    assert llm.label == "livekit.plugins.trunkline.llm.LLM"
    assert trunkline.LLM(api_key="sk-x", base_url="https://api.openai.com/v1").provider == "api.openai.com"


def test_it_is_registered() -> None:
    (plugin,) = [known for known in Plugin.registered_plugins if known.package == "livekit.plugins.trunkline"]
    assert plugin.title == "livekit.plugins.trunkline"
    assert plugin.version == trunkline.__version__


def test_importing_it_off_the_main_thread_is_livekits_own_error() -> None:
    program = (
        "import threading\n"
        "def load():\n"
        "    try:\n"
        "        import livekit.plugins.trunkline\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "thread = threading.Thread(target=load); thread.start(); thread.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout == "Plugins must be registered on the main thread\n"


def test_the_namespace_is_shared() -> None:
    assert not list((HERE / "livekit").glob("__init__.py"))
    assert not list((HERE / "livekit" / "plugins").glob("__init__.py"))
    assert (HERE / "livekit" / "plugins" / "trunkline" / "py.typed").exists()


def test_wrong_settings_say_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        trunkline.LLM()
    with pytest.raises(TypeError, match=r"trunkline\.Client"):
        trunkline.LLM(client=object())  # type: ignore[arg-type]


class Answer(BaseModel):
    city: str
    degrees: int


SCHEMA = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "all": {
        "model": "gpt-4.1",
        "user": "u",
        "temperature": 0.5,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "default",
        "verbosity": "low",
        "max_output_tokens": 100,
    },
    "reasoning": {"model": "gpt-5", "reasoning": Reasoning(effort="low"), "temperature": 0.1},
    "lowest effort": {"model": "gpt-5-mini"},
    "no effort keeps the temperature": {"model": "gpt-5.1", "temperature": 0.1},
    "reasoning drops the temperature": {"model": "o3", "temperature": 0.1},
    "a named tool": {"tool_choice": {"type": "function", "function": {"name": "hang_up"}}},
    "breakpoints": {"prompt_cache_breakpoints": True, "model": "gpt-6-astra"},
    "cache options": {"prompt_cache_options": {"mode": "explicit"}, "model": "gpt-6-astra"},
}
REQUESTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "tools": {"tools": [get_weather, hang_up], "parallel_tool_calls": True, "tool_choice": "required"},
    "provider tools": {"tools": [openai.tools.WebSearch(), get_weather]},
    "text format": {"extra_kwargs": {"text": {"format": SCHEMA}}},
    "extra": {"extra_kwargs": {"truncation": "auto", "user": "somebody", "prompt_cache_key": "k"}},
}


def pictured() -> ChatContext:
    made = context("Hello there", "Hi")
    made.add_message(role="system", content=["Be brief.", CacheBreakpoint()])
    made.add_message(role="user", content=["What is this?", ImageContent(image=PIXEL), "And that?"])
    made.add_message(
        role="user", content=[ImageContent(image="https://x.example/a.png", inference_detail="low")]
    )
    return made


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("settings", SETTINGS)
async def test_requests_are_those_of_the_openai_plugin(
    settings: str, request_: str, emulator: Emulator, client: trunkline.Client
) -> None:
    options, asked = SETTINGS[settings], REQUESTS[request_]
    async with http_context.open():
        theirs = openai.responses.LLM(
            base_url=f"{emulator.base_url}/responses", api_key=emulator.api_key or "", **options
        )
        ours = trunkline.LLM(client=client, **options)
        for llm in (theirs, ours):
            with suppress(APIStatusError):  # the emulator may not like it; both are to ask it
                await ask(llm, pictured(), **asked)
        await theirs.aclose()
    expected, sent = bodies(emulator)
    sent.pop("stream_id")
    assert sent == {name: value for name, value in expected.items() if value != []}


async def test_fields_that_the_openai_plugin_has_no_parameters_for(
    emulator: Emulator, client: trunkline.Client
) -> None:
    given: dict[str, Any] = {
        "prompt_cache_key": "caller 7",
        "safety_identifier": "hash 7",
        "top_p": 0.5,
        "truncation": "auto",
    }
    async with trunkline.LLM(model="gpt-4.1", client=client, **given) as llm:
        await ask(llm, context("Hello"))
        await ask(llm, context("Hello"), extra_kwargs={"truncation": "disabled"})
    for body in bodies(emulator):
        assert given.items() <= body.items()
    assert trunkline.LLM(model="gpt-5.1", client=client, top_p=0.5)._options.fields(
        parallel_tool_calls=NOT_GIVEN,
        tool_choice=NOT_GIVEN,
        response_format=NOT_GIVEN,
        extra_kwargs=NOT_GIVEN,
    ) == {"model": "gpt-5.1", "top_p": 0.5, "reasoning": {"effort": "none"}}


@pytest.mark.parametrize("model", ["gpt-5.4-nano", "gpt-6-sol", "openai/gpt-6.1-sol", "gpt-6-astra"])
async def test_the_default_effort_is_the_lowest_that_livekit_knows(
    model: str, emulator: Emulator, client: trunkline.Client
) -> None:
    async with trunkline.LLM(model=model, client=client) as llm:
        await ask(llm, context("Hello"))
    effort = min_reasoning_effort(model)
    assert bodies(emulator)[0].get("reasoning") == ({"effort": effort} if effort is not None else None)


async def test_headers_and_lanes_are_those_of_the_clients(emulator: Emulator) -> None:
    async with trunkline.LLM(
        model="gpt-4.1",
        base_url=emulator.base_url,
        api_key=emulator.api_key or "",
        extra_headers={"x-team": "voice"},
        lanes=True,
    ) as llm:
        await ask(llm, context("Hello"))
    (connection,) = emulator.connections
    assert connection.headers["x-team"] == "voice"
    assert "stream_id" in bodies(emulator)[0]


@pytest.mark.parametrize("option", [{"extra_headers": {"a": "b"}}, {"lanes": True}])
async def test_headers_and_lanes_do_not_go_with_a_client(
    option: dict[str, Any], client: trunkline.Client
) -> None:
    with pytest.raises(ValueError, match=r"cannot be given with client; give it to the trunkline\.Client"):
        trunkline.LLM(client=client, **option)


async def test_a_response_format_becomes_a_text_format(emulator: Emulator, llm: trunkline.LLM) -> None:
    await ask(llm, context("Oslo"), response_format=Answer)
    await ask(llm, context("Rome"), response_format={"type": "json_object"})
    first, second = (body["text"]["format"] for body in bodies(emulator))
    assert (first["type"], first["name"], first["strict"]) == ("json_schema", "Answer", True)
    assert set(first["schema"]["properties"]) == {"city", "degrees"}
    assert second == {"type": "json_object"}


async def test_bodies_may_be_extended_and_headers_are_refused(emulator: Emulator, llm: trunkline.LLM) -> None:
    await ask(llm, context("Hello"), extra_kwargs={"extra_body": {"truncation": "auto"}})
    assert bodies(emulator)[0]["truncation"] == "auto"
    with pytest.raises(ValueError, match="Client"):
        llm.chat(chat_ctx=context("Hello"), extra_kwargs={"extra_headers": {"a": "b"}})


async def test_hosted_tools_need_no_other_plugin(emulator: Emulator, llm: trunkline.LLM) -> None:
    await ask(llm, context("Hello"), tools=[trunkline.HostedTool({"type": "web_search"})])
    assert bodies(emulator)[0]["tools"] == [{"type": "web_search"}]


def test_a_schema_is_derived_once_and_follows_its_description() -> None:
    from livekit.plugins.trunkline.tools import Definitions

    definitions = Definitions()
    first = definitions.of([get_weather])
    assert definitions.of([get_weather])[0] is first[0]
    assert first == ToolContext([get_weather]).parse_function_tools("openai.responses")
    told = get_weather.info.description
    try:
        get_weather.info.description = "Something else."
        assert definitions.of([get_weather])[0]["description"] == "Something else."
    finally:
        get_weather.info.description = told
