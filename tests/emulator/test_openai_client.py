"""The openai package's own client has tool-calling conversations with the emulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError
from openai.lib.responses_websocket import AsyncResponsesWebSocketSession, ResponsesWebSocketLimits
from openai.types.responses import FunctionToolParam, Response
from pydantic import BaseModel

from trunkline.emulator import Emulator

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "Look up the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
LIMITS = ResponsesWebSocketLimits(
    max_lanes=8,
    max_events_per_lane=1000,
    max_events=4000,
    max_bytes_per_lane=1 << 24,
    max_bytes=1 << 25,
    max_response_bytes=None,
)


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as opened:
        yield opened


def outputs(response: Response) -> list[Any]:
    """The outputs of all calls: the city, and a temperature."""
    return [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": f"12 degrees in {json.loads(item.arguments)['city']}",
        }
        for item in response.output
        if item.type == "function_call"
    ]


async def test_create_runs_a_tool_conversation(client: AsyncOpenAI) -> None:
    first = await client.responses.create(
        model="gpt-6-astra", input="weather in Oslo and Bergen?", tools=[WEATHER]
    )
    assert len(first.output) == 2
    second = await client.responses.create(
        model="gpt-6-astra", input=outputs(first), tools=[WEATHER], previous_response_id=first.id
    )
    assert "12 degrees in Oslo" in second.output_text
    assert "12 degrees in Bergen" in second.output_text


async def test_streams_can_be_iterated(client: AsyncOpenAI) -> None:
    async with client.responses.stream(
        model="gpt-6-astra", input="weather in Oslo?", tools=[WEATHER]
    ) as stream:
        kinds = [event.type async for event in stream]
        first = await stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    raw = await client.responses.create(
        model="gpt-6-astra",
        input=outputs(cast(Response, first)),
        tools=[WEATHER],
        previous_response_id=first.id,
        stream=True,
    )
    text = "".join([event.delta async for event in raw if event.type == "response.output_text.delta"])
    assert "12 degrees in Oslo" in text


async def test_structured_output_is_parsed(client: AsyncOpenAI) -> None:
    class Place(BaseModel):
        city: str
        inhabitants: int

    parsed = await client.responses.parse(model="gpt-6-astra", input="7 people in Oslo", text_format=Place)
    assert parsed.output_parsed == Place(city="Oslo", inhabitants=7)


async def test_two_lanes_of_one_connection_run_tool_conversations(
    emulator: Emulator, client: AsyncOpenAI
) -> None:
    async with (
        client.responses.connect(websocket_connection_options={"max_size": None}) as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):

        async def converse(name: str, city: str) -> str:
            lane = session.lane(name)
            body: Any = {
                "type": "response.create",
                "model": "gpt-6-astra",
                "tools": [WEATHER],
                "store": False,
            }
            await lane.send(body | {"input": f"weather in {city}?"})
            first = await lane.get_final_response()
            await lane.send(body | {"input": outputs(first), "previous_response_id": first.id})
            second = await lane.get_final_response()
            assert second.id != first.id
            return second.output_text

        oslo, bergen = await asyncio.gather(converse("a", "Oslo"), converse("b", "Bergen"))
    assert "12 degrees in Oslo" in oslo
    assert "12 degrees in Bergen" in bergen
    assert emulator.handshakes == 1
    assert emulator.connections[0].lane_names == ["a", "b"]


async def test_a_connection_without_lanes_yields_events(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="echo", input="hello world")
        deltas = []
        async for event in connection:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
            if event.type == "response.completed":
                break
        assert "".join(deltas) == "hello world"


async def test_stored_responses_are_read_listed_and_deleted(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="echo", input="hello")
    assert (await client.responses.retrieve(response.id)).output_text == "hello"
    items = [item async for item in client.responses.input_items.list(response.id)]
    assert [item.type for item in items] == ["message"]
    await client.responses.delete(response.id)
    with pytest.raises(NotFoundError):
        await client.responses.retrieve(response.id)


async def test_background_responses_are_polled_and_cancelled(client: AsyncOpenAI, emulator: Emulator) -> None:
    response = await client.responses.create(model="echo", input="hello", background=True)
    assert response.status == "queued"
    while response.status in ("queued", "in_progress"):
        response = await client.responses.retrieve(response.id)
    assert response.output_text == "hello"


async def test_compaction_gives_a_window_to_go_on_with(client: AsyncOpenAI) -> None:
    compacted = await client.responses.compact(model="echo", input=[{"role": "user", "content": "long ago"}])
    assert compacted.output[-1].type == "compaction"
    window: Any = [item.model_dump(exclude_unset=True, warnings=False) for item in compacted.output]
    response = await client.responses.create(
        model="echo", input=[*window, {"role": "user", "content": "now"}]
    )
    assert response.output_text == "now"


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert "echo" in names
    assert (await client.models.retrieve("whatever")).id == "whatever"


async def test_errors_become_the_clients_exceptions(client: AsyncOpenAI, emulator: Emulator) -> None:
    with pytest.raises(BadRequestError) as refusal:
        await client.responses.create(model="echo", input="x", previous_response_id="resp_unknown")
    assert refusal.value.code == "previous_response_not_found"
    stranger = client.with_options(api_key="sk-wrong")
    with pytest.raises(AuthenticationError):
        await stranger.responses.create(model="echo", input="x")
