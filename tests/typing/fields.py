"""Types of the fields of requests. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

import trunkline
from trunkline import Client, Conversation, ReasoningOptions, RequestFields, TurnFields


def get_weather(city: str) -> str:
    return f"rain in {city}"


async def known_fields_are_keywords(client: Client, chat: Conversation) -> None:
    client.conversation(
        model="m",
        instructions="be brief",
        tools=[get_weather, {"type": "web_search"}],
        temperature=0.2,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        tool_choice="required",
        metadata={"user": "1"},
        include=["reasoning.encrypted_content"],
        truncation="auto",
        store=False,
    )
    client.stream(model="m", input="x", key=1, instructions="be brief", tools=[], prompt_cache_key="k")
    chat.send("x", model="other", instructions="in French", tools=[get_weather], max_output_tokens=3)
    await chat.run("x", max_turns=2, tool_choice={"type": "function", "name": "get_weather"})
    chat.send("x", temperature=None, tools=None, instructions=None)


def options_may_be_newer_than_trunkline(client: Client) -> None:
    client.conversation(model="m", reasoning={"effort": "low", "brand_new": True})
    client.conversation(model="m", reasoning={"effort": "extreme"})
    client.conversation(model="m", tool_choice={"type": "brand_new"})
    client.conversation(model="m", service_tier="brand_new")


async def fields_may_be_newer_than_trunkline(client: Client, chat: Conversation) -> None:
    client.conversation(model="m", extra_fields={"brand_new": 1})
    client.stream(model="m", input="x", extra_fields={"brand_new": 1})
    chat.send("x", extra_fields={"brand_new": 1})
    await chat.run("x", extra_fields={"brand_new": 1})


async def a_misspelt_field_is_an_error(client: Client, chat: Conversation) -> None:
    client.conversation(model="m", temprature=0.2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.stream(model="m", input="x", temprature=0.2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    chat.send("x", temprature=0.2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await chat.run("x", temprature=0.2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_value_of_another_type_is_an_error(chat: Conversation) -> None:
    chat.send("x", temperature="hot")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.send("x", include="reasoning.encrypted_content")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.send("x", truncation="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_field_that_streams_do_not_support_is_an_error(chat: Conversation) -> None:
    chat.send("x", stream=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    chat.send("x", background=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def fields_can_be_kept(client: Client, chat: Conversation, untyped: dict[str, Any]) -> None:
    reasoning: ReasoningOptions = {"effort": "high"}
    settings: RequestFields = {"temperature": 0.2, "reasoning": reasoning}
    client.conversation(model="m", **settings)
    client.stream(model="m", input="x", **settings)
    chat.send("x", **settings)
    turn: TurnFields = {"model": "other", "temperature": 0.2}
    await chat.run("x", **turn)
    chat.send("x", **untyped)
    wrong: ReasoningOptions = {"effort": "extreme"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
    print(wrong, trunkline.RequestFields)
