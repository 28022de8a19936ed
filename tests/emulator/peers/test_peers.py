"""The clients of others have tool-calling conversations with the emulator, and with a gateway in front of it.

The gateway is known by its base URL alone. The service must see the same contexts through it.

They bring many dependencies, so each test is skipped where its client is not installed. In an environment
of its own::

    pip install -e ".[emulator,gateway]" pytest pytest-asyncio pytest-timeout hypothesis trustme
    pip install "openai[realtime]" openai-agents "pydantic-ai-slim[openai]" livekit-plugins-openai pipecat-ai
    pytest tests/emulator/peers
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from trunkline.emulator import Emulator

from ...contexts import shown
from ...gateway.running import running

pytestmark = pytest.mark.filterwarnings("default")

QUESTION = "How is the weather in Oslo?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Look up the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


def get_weather(city: str) -> str:
    """Look up the weather of a city.

    Args:
        city: where to look.
    """
    return f"12 degrees in {city}"


@dataclass(frozen=True)
class Server:
    """What a client knows of its server.

    Attributes:
        base_url: the URL of the emulator, or of the gateway.
        api_key: the key.
    """

    base_url: str
    api_key: str


async def openai_connect(server: Server) -> str:
    """The WebSocket of the SDK, and the parent's id."""
    openai = pytest.importorskip("openai")
    parent: dict[str, Any] = {}
    new: Any = [{"role": "user", "content": QUESTION}]
    async with (
        openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key) as client,
        client.responses.connect() as connection,
    ):
        while True:
            await connection.response.create(model="mixed", input=new, tools=[WEATHER], **parent)
            while (event := await connection.recv()).type != "response.completed":
                assert event.type != "error", event
            parent = {"previous_response_id": event.response.id}
            calls = [item for item in event.response.output if item.type == "function_call"]
            new = [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": get_weather(**json.loads(call.arguments)),
                }
                for call in calls
            ]
            if not calls:
                return str(event.response.output_text)


async def openai_agents(server: Server) -> str:
    agents = pytest.importorskip("agents")
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    async with AsyncOpenAI(base_url=server.base_url, api_key=server.api_key) as client:
        from agents.models.openai_responses import (  # type: ignore[import-not-found,unused-ignore]
            OpenAIResponsesWSModel,
        )

        model = OpenAIResponsesWSModel("gpt-6-astra", openai_client=client)
        agent = agents.Agent(name="weather", model=model, tools=[agents.function_tool(get_weather)])
        result = await agents.Runner.run(agent, QUESTION)
        await model.close()
    return str(result.final_output)


async def pydantic_ai(server: Server) -> str:
    ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    providers = pytest.importorskip("pydantic_ai.providers.openai")
    provider = providers.OpenAIProvider(base_url=server.base_url, api_key=server.api_key)
    model = models.OpenAIResponsesModel("gpt-6-astra", provider=provider)
    settings = models.OpenAIResponsesModelSettings(openai_transport="websocket")
    agent = ai.Agent(model, tools=[get_weather], model_settings=settings)
    async with agent:
        result = await agent.run(QUESTION)
        again = await agent.run("And the weather in Oslo now?", message_history=result.all_messages())
    assert "12 degrees in Oslo" in str(result.output)
    return str(again.output)


async def livekit(server: Server) -> str:
    agents: Any = pytest.importorskip("livekit.agents")
    responses: Any = pytest.importorskip("livekit.plugins.openai.responses")
    llm: Any = agents.llm
    context_of_http = agents.utils.http_context.open()
    async with context_of_http:
        model = responses.LLM(
            model="gpt-6-astra", base_url=f"{server.base_url}/responses", api_key=server.api_key
        )
        tool = llm.function_tool(get_weather)
        context = llm.ChatContext.empty()
        context.add_message(role="user", content=QUESTION)
        called = await _said(model, context, tool)
        (call,) = called.tool_calls
        context.items.append(llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments))
        output = get_weather("Oslo")
        context.items.append(
            llm.FunctionCallOutput(call_id=call.call_id, name=call.name, output=output, is_error=False)
        )
        answered = await _said(model, context, tool)
        await model.aclose()
    return str(answered.text)


async def _said(model: Any, context: Any, tool: Any) -> Any:
    async with model.chat(chat_ctx=context, tools=[tool]) as stream:
        return await stream.collect()


async def pipecat(server: Server) -> str:
    pytest.importorskip("pipecat")
    service: Any = pytest.importorskip("pipecat.services.openai.responses.llm")
    aggregators: Any = pytest.importorskip("pipecat.processors.aggregators.llm_response_universal")
    contexts: Any = pytest.importorskip("pipecat.processors.aggregators.llm_context")
    frames: Any = pytest.importorskip("pipecat.frames.frames")
    pipelines: Any = pytest.importorskip("pipecat.pipeline.pipeline")
    processors: Any = pytest.importorskip("pipecat.processors.frame_processor")
    tasks: Any = pytest.importorskip("pipecat.pipeline.task")
    runners: Any = pytest.importorskip("pipecat.pipeline.runner")

    async def weather(params: Any) -> None:
        await params.result_callback(get_weather(params.arguments["city"]))

    schema: Any = pytest.importorskip("pipecat.adapters.schemas.function_schema")
    tools: Any = pytest.importorskip("pipecat.adapters.schemas.tools_schema")
    function = schema.FunctionSchema(
        name="get_weather",
        description="Look up the weather of a city.",
        properties={"city": {"type": "string"}},
        required=["city"],
    )
    llm = service.OpenAIResponsesLLMService(
        api_key=server.api_key,
        base_url=server.base_url,
        ws_url=server.base_url.replace("http", "ws") + "/responses",
        settings=service.OpenAIResponsesLLMService.Settings(model="gpt-6-astra"),
    )
    llm.register_function("get_weather", weather)
    context = contexts.LLMContext(
        messages=[{"role": "user", "content": QUESTION}], tools=tools.ToolsSchema(standard_tools=[function])
    )
    pair = aggregators.LLMContextAggregatorPair(context)
    said: list[str] = []
    done = asyncio.Event()

    class Listener(processors.FrameProcessor):  # type: ignore[misc,unused-ignore]
        async def process_frame(self, frame: Any, direction: Any) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, frames.LLMTextFrame):
                said.append(frame.text)
            if isinstance(frame, frames.LLMFullResponseEndFrame) and said:
                done.set()
            await self.push_frame(frame, direction)

    pipeline = pipelines.Pipeline([pair.user(), llm, Listener(), pair.assistant()])
    task = tasks.PipelineTask(pipeline)
    runner = runners.PipelineRunner(handle_sigint=False)
    running = asyncio.create_task(runner.run(task))
    await task.queue_frames([frames.LLMRunFrame()])
    async with asyncio.timeout(20):
        await done.wait()
    await task.cancel()
    await running
    return "".join(said)


Client: TypeAlias = Callable[[Server], Awaitable[str]]

CLIENTS: list[Client] = [openai_connect, openai_agents, pydantic_ai, livekit, pipecat]


@pytest.fixture(params=CLIENTS, ids=lambda client: client.__name__)
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.param
    return found


async def direct(client: Client) -> Emulator:
    """An emulator after a conversation with it."""
    async with Emulator() as emulator:
        check(emulator, await client(Server(emulator.base_url, emulator.api_key or "")))
    return emulator


def check(emulator: Emulator, answer: str) -> None:
    """The answer came from the tool's output, over the socket, with no request refused."""
    assert "12 degrees in Oslo" in answer
    assert [request.error for request in emulator.requests if request.error] == []
    assert {request.transport for request in emulator.requests} == {"websocket"}
    assert len(emulator.responses) >= 2


async def test_a_client_of_the_emulator(client: Client) -> None:
    await direct(client)


@pytest.mark.parametrize("zdr", [False, True], ids=["stored", "zdr"])
async def test_a_client_of_a_gateway(client: Client, zdr: bool) -> None:
    plain = await direct(client)
    async with Emulator(zdr=zdr) as emulator:
        async with running(emulator) as gateway:
            check(emulator, await client(Server(gateway.base_url, gateway.api_key)))
        assert shown(emulator) == shown(plain)
        chained = [record.previous_response_id is not None for record in emulator.responses.values()]
        assert chained == [False, *[True] * (len(chained) - 1)]
