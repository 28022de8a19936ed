"""Frameworks on the openai SDK have equal conversations with the drop-in, the gateway, both and neither.

Each row is a conversation in the words of one framework. It is held over plain HTTP with responses that are
stored, then through the drop-in, stored and under zero data retention. The contexts of all responses must be
equal, and every request after the first of a conversation must be a delta. The same holds for frameworks that
know the gateway by its base URL alone, without the drop-in and with it.

They bring many dependencies, so each row is deselected where its framework is not installed.
``make test-dropin`` makes an environment with all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI

import trunkline
import trunkline.openai
from trunkline.emulator import Emulator
from trunkline.openai.options import Options

from ..contexts import shown
from ..gateway.running import running

pytestmark = pytest.mark.filterwarnings("default")

MODEL = "mixed"
"""A model that reasons, speaks and calls tools."""
QUESTIONS = ("How is the weather in Oslo?", "And in Bergen?")
WEATHER: Any = {
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


def get_weather(city: str) -> str:
    """Look up the weather of a city.

    Args:
        city: where to look.
    """
    return f"12 degrees in {city}"


@dataclass
class Way:
    """How requests go to the service.

    Attributes:
        base_url: the URL of the service, or of the gateway in front of it.
        api_key: the key that callers show.
        is_dropin: through the drop-in.
        lanes: what the drop-in is told of lanes; ``None`` to detect them.
        turns: the turns of the drop-in.
    """

    base_url: str
    api_key: str
    is_dropin: bool
    lanes: bool | None = True
    turns: list[trunkline.TurnMetrics] = field(default_factory=list)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncOpenAI]:
        async with AsyncOpenAI(**self.settings(), http_client=self.async_http()) as client:
            yield client

    @contextmanager
    def sync_client(self) -> Iterator[OpenAI]:
        with OpenAI(**self.settings(), http_client=self.http()) as client:
            yield client

    def settings(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "api_key": self.api_key, "max_retries": 0}

    def async_http(self) -> Any:
        return trunkline.openai.async_http_client(**self.options()) if self.is_dropin else None

    def http(self) -> Any:
        return trunkline.openai.http_client(**self.options()) if self.is_dropin else None

    def options(self) -> Options:
        return {"lanes": self.lanes, "hooks": trunkline.Hooks(turn_finished=self.turns.append)}


def outputs(output: Any) -> list[Any]:
    """The outputs of the calls of a response."""
    return [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": get_weather(json.loads(item.arguments)["city"]),
        }
        for item in output
        if item.type == "function_call"
    ]


# openai


async def openai_histories(way: Way) -> None:
    """The history is sent back as the SDK gave it."""
    async with way.client() as client:
        items: list[Any] = []
        for question in QUESTIONS:
            items.append({"role": "user", "content": question})
            while True:
                response = await client.responses.create(model=MODEL, input=items, tools=[WEATHER])
                items += response.output
                if not (answers := outputs(response.output)):
                    break
                items += answers


async def openai_ids(way: Way) -> None:
    async with way.client() as client:
        parent = None
        for question in QUESTIONS:
            new: Any = question
            while True:
                response = await client.responses.create(
                    model=MODEL, input=new, tools=[WEATHER], previous_response_id=parent
                )
                parent = response.id
                if not (new := outputs(response.output)):
                    break


async def openai_streams(way: Way) -> None:
    async with way.client() as client:
        items: list[Any] = []
        for question in QUESTIONS:
            items.append({"role": "user", "content": question})
            while True:
                async with client.responses.stream(model=MODEL, input=items, tools=[WEATHER]) as stream:
                    async for _ in stream:
                        pass
                    response = await stream.get_final_response()
                items += [item.model_dump(exclude_none=True) for item in response.output]
                for item in items:
                    item.pop("parsed_arguments", None)
                    for part in item.get("content", ()) if isinstance(item.get("content"), list) else ():
                        part.pop("parsed", None)
                if not (answers := outputs(response.output)):
                    break
                items += answers


async def openai_sync(way: Way) -> None:
    def talk() -> None:
        with way.sync_client() as client:
            items: list[Any] = []
            for question in QUESTIONS:
                items.append({"role": "user", "content": question})
                while True:
                    response = client.responses.create(model=MODEL, input=items, tools=[WEATHER])
                    items.extend(response.output)
                    if not (answers := outputs(response.output)):
                        break
                    items.extend(answers)

    await asyncio.to_thread(talk)


# openai-agents


@asynccontextmanager
async def agent(way: Way, **settings: Any) -> AsyncIterator[Any]:
    import agents
    from agents.models.openai_responses import OpenAIResponsesModel

    agents.set_tracing_disabled(True)
    async with way.client() as client:
        model = OpenAIResponsesModel(MODEL, openai_client=client)
        tools = [agents.function_tool(get_weather)]
        yield agents.Agent(name="weather", instructions="Be brief.", model=model, tools=tools, **settings)


async def agents_run(way: Way) -> None:
    from agents import Runner

    async with agent(way) as weather:
        items: Any = QUESTIONS[0]
        result = await Runner.run(weather, items)
        await Runner.run(weather, [*result.to_input_list(), {"role": "user", "content": QUESTIONS[1]}])


async def agents_streamed(way: Way) -> None:
    from agents import Runner

    async with agent(way) as weather:
        result = Runner.run_streamed(weather, QUESTIONS[0])
        async for _ in result.stream_events():
            pass
        items: Any = [*result.to_input_list(), {"role": "user", "content": QUESTIONS[1]}]
        result = Runner.run_streamed(weather, items)
        async for _ in result.stream_events():
            pass


async def agents_session(way: Way) -> None:
    from agents import Runner, SQLiteSession

    async with agent(way) as weather:
        session = SQLiteSession("one")
        for question in QUESTIONS:
            await Runner.run(weather, question, session=session)
        session.close()


async def agents_ids(way: Way) -> None:
    from agents import Runner

    async with agent(way) as weather:
        parent = None
        for question in QUESTIONS:
            result = await Runner.run(
                weather, question, previous_response_id=parent, auto_previous_response_id=True
            )
            parent = result.last_response_id


async def agents_handoff(way: Way) -> None:
    import agents
    from agents import Runner
    from agents.models.openai_responses import OpenAIResponsesModel

    async with agent(way) as weather, way.client() as client:
        first = agents.Agent(
            name="desk",
            instructions="Hand over.",
            model=OpenAIResponsesModel(MODEL, openai_client=client),
            handoffs=[weather],
        )
        await Runner.run(first, "Please transfer to weather")


# pydantic-ai


@asynccontextmanager
async def pydantic_agent(way: Way) -> AsyncIterator[Any]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with way.client() as client:
        # Of a model that it does not know, it sends reasoning back as text.
        model = OpenAIResponsesModel("gpt-6-astra", provider=OpenAIProvider(openai_client=client))
        yield Agent(model, tools=[get_weather], instructions="Be brief.")


async def pydantic_run(way: Way) -> None:
    async with pydantic_agent(way) as weather:
        result = await weather.run(QUESTIONS[0])
        await weather.run(QUESTIONS[1], message_history=result.all_messages())


async def pydantic_stream(way: Way) -> None:
    async with pydantic_agent(way) as weather:
        history: Any = None
        for question in QUESTIONS:
            async with weather.run_stream(question, message_history=history) as result:
                async for _ in result.stream_text():
                    pass
                history = result.all_messages()


# langchain-openai


def chat_model(way: Way, stack: AsyncExitStack, **settings: Any) -> Any:
    from langchain_openai import ChatOpenAI

    clients: dict[str, Any] = {}
    if way.is_dropin:
        clients = {"http_async_client": way.async_http(), "http_client": way.http()}
        stack.push_async_callback(clients["http_async_client"].aclose)
        stack.callback(clients["http_client"].close)
    model = ChatOpenAI(model=MODEL, use_responses_api=True, **way.settings(), **clients, **settings)
    return model.bind_tools([WEATHER])


async def langchain(way: Way, ask: Callable[[Any, Any], Awaitable[Any]], **settings: Any) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    async with AsyncExitStack() as stack:
        model = chat_model(way, stack, **settings)
        messages: list[Any] = []
        for question in QUESTIONS:
            messages.append(HumanMessage(question))
            while True:
                answer = await ask(model, messages)
                messages.append(answer)
                if not answer.tool_calls:
                    break
                messages += [
                    ToolMessage(get_weather(call["args"]["city"]), tool_call_id=call["id"])
                    for call in answer.tool_calls
                ]


async def langchain_ainvoke(way: Way) -> None:
    await langchain(way, lambda model, messages: model.ainvoke(messages))


async def langchain_astream(way: Way) -> None:
    async def ask(model: Any, messages: Any) -> Any:
        answer = None
        async for chunk in model.astream(messages):
            answer = chunk if answer is None else answer + chunk
        return answer

    await langchain(way, ask)


async def langchain_invoke(way: Way) -> None:
    await langchain(way, lambda model, messages: asyncio.to_thread(model.invoke, messages))


async def langchain_ids(way: Way) -> None:
    await langchain(way, lambda model, messages: model.ainvoke(messages), use_previous_response_id=True)


# litellm


async def litellm_aresponses(way: Way) -> None:
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    transport: Any = trunkline.openai.AsyncTransport(httpx, **way.options()) if way.is_dropin else None
    handler = AsyncHTTPHandler(transport=transport)
    settings = {"api_base": way.base_url, "api_key": way.api_key, "client": handler}
    items: list[Any] = []
    for question in QUESTIONS:
        items.append({"role": "user", "content": question})
        while True:
            response: Any = await litellm.aresponses(
                model=f"openai/{MODEL}", input=items, tools=[WEATHER], **settings
            )
            items += [item.model_dump(exclude_none=True) for item in response.output]
            if not (answers := outputs(response.output)):
                break
            items += answers
    await handler.close()
    if transport is not None:
        await transport.aclose()


# LiveKit


async def livekit_http(way: Way) -> None:
    from livekit.agents import llm, utils
    from livekit.plugins.openai import responses

    async with utils.http_context.open(), way.client() as client:
        model = responses.LLM(model="gpt-6-astra", client=client, use_websocket=False)
        tool: Any = llm.function_tool(get_weather)
        context = llm.ChatContext.empty()
        for question in QUESTIONS:
            context.add_message(role="user", content=question)
            while True:
                async with model.chat(chat_ctx=context, tools=[tool]) as stream:
                    answer = await stream.collect()
                if answer.text:
                    context.add_message(role="assistant", content=answer.text)
                if not answer.tool_calls:
                    break
                for call in answer.tool_calls:
                    context.items.append(
                        llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
                    )
                    output = get_weather("Oslo")
                    context.items.append(
                        llm.FunctionCallOutput(
                            call_id=call.call_id, name=call.name, output=output, is_error=False
                        )
                    )
        await model.aclose()


# Pipecat


async def pipecat_http(way: Way) -> None:
    from pipecat.frames.frames import LLMFullResponseEndFrame, LLMMessagesAppendFrame
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineTask
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.services.openai.responses.llm import OpenAIResponsesHttpLLMService

    http = way.async_http()
    clients: list[AsyncOpenAI] = []

    class Service(OpenAIResponsesHttpLLMService):  # type: ignore[misc,unused-ignore]
        def _create_client(self, **settings: Any) -> AsyncOpenAI:
            given = {name: value for name, value in settings.items() if value is not None}
            clients.append(AsyncOpenAI(**given, http_client=http))
            return clients[-1]

    service = Service(
        api_key=way.api_key,
        base_url=way.base_url,
        settings=Service.Settings(model="reason"),
    )
    context = LLMContext()
    pair = LLMContextAggregatorPair(context)
    ended: asyncio.Queue[None] = asyncio.Queue()

    class Listener(FrameProcessor):  # type: ignore[misc,unused-ignore]
        async def process_frame(self, frame: Any, direction: Any) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)
            if isinstance(frame, LLMFullResponseEndFrame):
                ended.put_nowait(None)

    task = PipelineTask(Pipeline([pair.user(), service, Listener(), pair.assistant()]))
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    for question in QUESTIONS:
        message = {"role": "user", "content": question}
        await task.queue_frames([LLMMessagesAppendFrame(messages=[message], run_llm=True)])
        async with asyncio.timeout(60):
            await ended.get()
    await task.cancel()
    await running
    for client in clients:
        await client.close()


Row: TypeAlias = Callable[[Way], Awaitable[None]]

ROWS: list[Row] = [
    openai_histories,
    openai_ids,
    openai_streams,
    openai_sync,
    agents_run,
    agents_streamed,
    agents_session,
    agents_ids,
    agents_handoff,
    pydantic_run,
    pydantic_stream,
    langchain_ainvoke,
    langchain_astream,
    langchain_invoke,
    langchain_ids,
    litellm_aresponses,
    livekit_http,
    pipecat_http,
]


PACKAGES = {
    "agents": "agents",
    "pydantic": "pydantic_ai",
    "langchain": "langchain_openai",
    "litellm": "litellm",
    "livekit": "livekit.plugins.openai",
    "pipecat": "pipecat",
}
"""The package of each row, by the beginning of its name."""


async def held(row: Row, *, is_dropin: bool, zdr: bool) -> Emulator:
    """The emulator after a conversation with it."""
    emulator = Emulator(zdr=zdr)
    with emulator.run_in_thread() as service:
        await row(Way(service.base_url, service.api_key or "", is_dropin))
    return emulator


async def held_at_a_gateway(row: Row, *, is_dropin: bool, zdr: bool) -> Emulator:
    """The emulator after a conversation with a gateway in front of it."""
    emulator = Emulator(zdr=zdr)
    async with emulator, running(emulator) as gateway:
        way = Way(gateway.base_url, gateway.api_key, is_dropin, lanes=None)
        await row(way)
    if is_dropin:
        # What the drop-in sends to the gateway, as well as what the gateway sends to the service.
        assert {turn.transport for turn in way.turns} == {"websocket"}
        assert [turn.mode for turn in way.turns] == ["full", *["delta"] * (len(way.turns) - 1)]
    return emulator


def assert_same_in_deltas(found: Emulator, plain: Emulator) -> None:
    """Assert that the contexts are equal, and that all requests but the first were deltas on a WebSocket."""
    assert [request.error for request in found.requests if request.error] == []
    assert shown(found) == shown(plain)
    records = list(found.responses.values())
    assert len(records) >= 2
    assert {record.transport for record in records} == {"websocket"}
    modes = ["delta" if record.previous_response_id else "full" for record in records]
    assert modes == ["full", *["delta"] * (len(records) - 1)]


def named(row: Row) -> Any:
    """A parameter of a test: a row that needs a package."""
    package = PACKAGES.get(row.__name__.partition("_")[0], "openai")
    return pytest.param(row, id=row.__name__, marks=pytest.mark.package(package))


PARAMETERS = [named(row) for row in ROWS]


@pytest.mark.parametrize("row", PARAMETERS)
@pytest.mark.parametrize("zdr", [False, True], ids=["stored", "zdr"])
async def test_a_framework_notices_nothing(row: Row, zdr: bool) -> None:
    plain = await held(row, is_dropin=False, zdr=False)
    assert_same_in_deltas(await held(row, is_dropin=True, zdr=zdr), plain)


@pytest.mark.parametrize("row", PARAMETERS)
@pytest.mark.parametrize("zdr", [False, True], ids=["stored", "zdr"])
@pytest.mark.parametrize("is_dropin", [False, True], ids=["plain", "dropin"])
async def test_a_framework_needs_only_the_url_of_a_gateway(row: Row, zdr: bool, is_dropin: bool) -> None:
    plain = await held(row, is_dropin=False, zdr=False)
    assert_same_in_deltas(await held_at_a_gateway(row, is_dropin=is_dropin, zdr=zdr), plain)
