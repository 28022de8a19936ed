"""Tools: definitions of provider tools of any plugin, and strict schemas."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from livekit.agents import APIError, APIStatusError, function_tool
from livekit.agents.llm import FallbackAdapter, ProviderTool, Tool
from livekit.plugins import trunkline
from trunkline.emulator import Emulator

from .talk import SOON, ask, bodies, context


@function_tool
async def get_weather(city: str, days: int = 1) -> str:
    """Look up the weather.

    Args:
        city: where.
        days: how many.
    """
    return city


class XSearch(ProviderTool):
    """A provider tool as those of the xAI plugin are: of a base class of its own."""

    def __init__(self) -> None:
        super().__init__(id="xai_x_search")

    def to_dict(self) -> dict[str, Any]:
        return {"type": "x_search", "allowed_x_handles": ["livekit"]}


class GroundedSearch(ProviderTool):
    """A provider tool of another API, without a definition for this one."""

    def __init__(self) -> None:
        super().__init__(id="gemini_search")


class Untyped(GroundedSearch):
    """A provider tool whose definition belongs to another API."""

    def to_dict(self) -> dict[str, Any]:
        return {"google_search": {}}


async def test_provider_tools_of_any_plugin_reach_the_request(emulator: Emulator, llm: trunkline.LLM) -> None:
    with suppress(APIStatusError):  # the emulator does not know the tool
        await ask(llm, context("Hello"), tools=[XSearch(), get_weather])
    weather, search = bodies(emulator)[0]["tools"]
    assert weather["name"] == "get_weather"
    assert search == {"type": "x_search", "allowed_x_handles": ["livekit"]}


@pytest.mark.parametrize("tool", [GroundedSearch(), Untyped()], ids=["no definition", "no type"])
async def test_a_tool_without_a_definition_is_an_error(
    tool: Tool, emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    with pytest.raises(APIError, match=r"gemini_search.*HostedTool") as refused:
        await ask(llm, context("Hello"), tools=[tool], conn_options=SOON)
    assert not refused.value.retryable
    assert [error.recoverable for error in errors] == [False]
    assert emulator.requests == []


async def test_the_fallback_adapter_goes_on_with_an_llm_that_knows_the_tool(
    emulator: Emulator, client: trunkline.Client, llm: trunkline.LLM
) -> None:
    class Grounded(trunkline.LLM):
        def chat(self, **options: Any) -> Any:
            return super().chat(**{**options, "tools": []})

    adapter = FallbackAdapter([llm, Grounded(model="gpt-6-astra", client=client)], retry_interval=0.01)
    assert (await ask(adapter, context("Hello"), tools=[GroundedSearch()])).text == "You said: Hello"
    await adapter.aclose()


async def test_strict_schemas(emulator: Emulator, client: trunkline.Client) -> None:
    tools: list[Tool] = [get_weather]
    for strict in (True, False):
        async with trunkline.LLM(model="gpt-6-astra", client=client, strict_tool_schema=strict) as llm:
            await ask(llm, context("Hello"), tools=tools)
    (strict_tool,), (loose_tool,) = (body["tools"] for body in bodies(emulator))
    assert (strict_tool["type"], strict_tool["name"]) == ("function", "get_weather")
    assert strict_tool["description"].startswith("Look up the weather.")
    assert strict_tool["strict"] is True
    assert strict_tool["parameters"]["required"] == ["city", "days"]
    assert strict_tool["parameters"]["additionalProperties"] is False
    assert loose_tool["strict"] is False
    assert loose_tool["parameters"]["required"] == ["city"]
