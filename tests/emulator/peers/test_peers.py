"""The clients of others have tool-calling conversations with the emulator.

They bring many dependencies, so each test is skipped where its client is not installed. In an environment
of its own::

    pip install -e ".[emulator]" pytest pytest-asyncio pytest-timeout hypothesis trustme
    pip install "openai[realtime]" openai-agents "pydantic-ai-slim[openai]" livekit-plugins-openai pipecat-ai
    pytest tests/emulator/peers
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline.emulator import Emulator

pytestmark = pytest.mark.filterwarnings("default")

QUESTION = "How is the weather in Oslo?"


def get_weather(city: str) -> str:
    """Look up the weather of a city.

    Args:
        city: where to look.
    """
    return f"12 degrees in {city}"


def check(emulator: Emulator, answer: str) -> None:
    """The answer came from the tool's output, over the socket, with no request refused."""
    assert "12 degrees in Oslo" in answer
    assert [request.error for request in emulator.requests if request.error] == []
    assert {request.transport for request in emulator.requests} == {"websocket"}
    assert len(emulator.responses) >= 2


async def test_openai_agents(emulator: Emulator) -> None:
    agents = pytest.importorskip("agents")
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    async with AsyncOpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        from agents.models.openai_responses import (  # type: ignore[import-not-found,unused-ignore]
            OpenAIResponsesWSModel,
        )

        model = OpenAIResponsesWSModel("gpt-6-astra", openai_client=client)
        agent = agents.Agent(name="weather", model=model, tools=[agents.function_tool(get_weather)])
        result = await agents.Runner.run(agent, QUESTION)
        await model.close()
    check(emulator, str(result.final_output))


async def test_pydantic_ai(emulator: Emulator) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    providers = pytest.importorskip("pydantic_ai.providers.openai")
    provider = providers.OpenAIProvider(base_url=emulator.base_url, api_key=emulator.api_key)
    model = models.OpenAIResponsesModel("gpt-6-astra", provider=provider)
    settings = models.OpenAIResponsesModelSettings(openai_transport="websocket")
    agent = pydantic_ai.Agent(model, tools=[get_weather], model_settings=settings)
    async with agent:
        result = await agent.run(QUESTION)
        again = await agent.run("And the weather in Oslo now?", message_history=result.all_messages())
    check(emulator, str(result.output))
    assert "12 degrees in Oslo" in str(again.output)


async def test_livekit(emulator: Emulator) -> None:
    agents: Any = pytest.importorskip("livekit.agents")
    responses: Any = pytest.importorskip("livekit.plugins.openai.responses")
    llm: Any = agents.llm
    context_of_http = agents.utils.http_context.open()
    async with context_of_http:
        model = responses.LLM(
            model="gpt-6-astra", base_url=f"{emulator.base_url}/responses", api_key=emulator.api_key
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
    check(emulator, answered.text)


async def _said(model: Any, context: Any, tool: Any) -> Any:
    async with model.chat(chat_ctx=context, tools=[tool]) as stream:
        return await stream.collect()


async def test_pipecat(emulator: Emulator) -> None:
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
        api_key=emulator.api_key,
        base_url=emulator.base_url,
        ws_url=emulator.base_url.replace("http", "ws") + "/responses",
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
    check(emulator, "".join(said))
