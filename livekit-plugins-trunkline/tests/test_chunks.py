"""Chunks and usage that LiveKit receives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import Agent, APIError, MetricsCollectedEvent, function_tool
from livekit.agents.llm import FunctionCall, FunctionCallOutput
from livekit.agents.metrics import LLMMetrics
from livekit.agents.telemetry import set_tracer_provider
from livekit.plugins import trunkline
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trunkline.emulator import Call, Emulator, Prompt, Reason, Say

from .talk import ask, chunks_of, context, latest, session_of


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    return city


@pytest.fixture
def metrics(llm: trunkline.LLM) -> list[LLMMetrics]:
    heard: list[LLMMetrics] = []
    llm.on("metrics_collected", heard.append)
    return heard


async def test_text_comes_in_pieces_that_name_the_response(emulator: Emulator, llm: trunkline.LLM) -> None:
    gates = [emulator.faults.hold(event=event) for event in (6, 7, 8)]
    chunks = []
    async with llm.chat(chat_ctx=context("one two three")) as stream:
        async for chunk in stream:
            chunks.append(chunk)
            if gates:
                gates.pop(0).open()
    pieces = [chunk.delta.content for chunk in chunks if chunk.delta and chunk.delta.content]
    assert "".join(pieces) == "You said: one two three"
    assert len(pieces) > 2
    assert {chunk.id for chunk in chunks} == {latest(emulator).id}
    assert {chunk.delta.role for chunk in chunks if chunk.delta} == {"assistant"}


async def test_text_that_comes_at_once_is_one_piece(emulator: Emulator, client: trunkline.Client) -> None:
    async with trunkline.LLM(model="words-2000", client=client) as llm:
        chunks = await chunks_of(llm, context("Go on"))
    pieces = [chunk.delta.content for chunk in chunks if chunk.delta and chunk.delta.content]
    assert len("".join(pieces).split()) == 2000
    assert len(pieces) < 1000


async def test_a_call_comes_whole_and_once(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("cold").says("Let me see.").calls("get_weather", city="Oslo")
    chunks = await chunks_of(llm, context("Is it cold?"), tools=[get_weather])
    (call,) = [call for chunk in chunks if chunk.delta for call in chunk.delta.tool_calls]
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Oslo"}')
    assert call.call_id == latest(emulator).output[-1]["call_id"]


async def test_a_call_that_breaks_off_is_no_call(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.expect("cold").calls("get_weather", city="A city with a very long name " * 4)
    async with trunkline.LLM(model="gpt-6-astra", client=client, max_output_tokens=3) as llm:
        with pytest.raises(APIError, match=r"incomplete \(max_output_tokens\)"):
            await ask(llm, context("Is it cold?"), tools=[get_weather])
    assert latest(emulator).status == "incomplete"
    assert len(emulator.requests) == 1


async def test_the_usage_is_told_in_full(
    emulator: Emulator, llm: trunkline.LLM, metrics: list[LLMMetrics]
) -> None:
    def model(prompt: Prompt) -> list[Reason | Say]:
        return [Reason("Let me think."), Say(["Well ", "then."])]

    emulator.add_model("gpt-6-astra", model)
    chat_ctx = context("word " * 3000)
    await ask(llm, chat_ctx)
    chat_ctx.add_message(role="user", content="And?")
    answer = await ask(llm, chat_ctx)
    said = latest(emulator).resource
    usage, told = said["usage"], answer.usage
    assert told is not None
    assert told.prompt_tokens == usage["input_tokens"] > 3000
    assert told.completion_tokens == usage["output_tokens"]
    assert told.total_tokens == usage["total_tokens"]
    assert told.prompt_cached_tokens == usage["input_tokens_details"]["cached_tokens"] > 1024
    assert told.cache_creation_tokens == usage["input_tokens_details"].get("cache_write_tokens", 0)
    assert told.reasoning_tokens == usage["output_tokens_details"]["reasoning_tokens"] > 0
    assert told.service_tier == said["service_tier"]
    await asyncio.sleep(0)
    last = metrics[-1]
    assert (last.prompt_cached_tokens, last.reasoning_tokens) == (
        told.prompt_cached_tokens,
        told.reasoning_tokens,
    )
    assert 0 < last.ttft <= last.duration
    assert last.request_id == latest(emulator).id
    assert last.metadata is not None
    assert last.metadata.model_name == "gpt-6-astra"
    assert not last.cancelled


async def test_an_incomplete_answer_is_an_answer(
    emulator: Emulator, client: trunkline.Client, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[LLMMetrics] = []
    async with trunkline.LLM(model="gpt-6-astra", client=client, max_output_tokens=4) as llm:
        llm.on("metrics_collected", heard.append)
        answer = await ask(llm, context("one two three four five six seven eight"))
        llm.on("error", heard.append)
    assert latest(emulator).status == "incomplete"
    assert answer.text
    assert answer.usage is not None
    assert heard[0].completion_tokens == answer.usage.completion_tokens > 0
    assert len(heard) == 1
    assert "incomplete" in caplog.text


async def test_a_cut_answer_counts_as_cancelled(
    emulator: Emulator, llm: trunkline.LLM, metrics: list[LLMMetrics]
) -> None:
    emulator.faults.add("stall", event=6)
    async with llm.chat(chat_ctx=context("one two three four five six seven")) as stream:
        await anext(aiter(stream))
    assert [told.cancelled for told in metrics] == [True]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_the_usage_of_an_interrupted_answer_is_emitted_once_when_it_has_drained(
    emulator: Emulator, llm: trunkline.LLM, metrics: list[LLMMetrics]
) -> None:
    gate = emulator.faults.hold(event=6)
    async with llm.chat(chat_ctx=context("one two three four five six seven")) as stream:
        await anext(aiter(stream))
    assert [(told.cancelled, told.total_tokens) for told in metrics] == [(True, 0)]
    gate.open()
    await until(lambda: len(metrics) > 1)
    usage = latest(emulator).resource["usage"]
    _, drained = metrics
    assert (drained.prompt_tokens, drained.completion_tokens) == (
        usage["input_tokens"],
        usage["output_tokens"],
    )
    assert (drained.cancelled, drained.ttft, drained.duration, drained.tokens_per_second) == (True, -1, 0, 0)
    assert drained.request_id == latest(emulator).id
    assert drained.metadata is not None
    assert drained.metadata.model_name == "gpt-6-astra"
    await ask(llm, context("Hello"))
    assert len(metrics) == 3


async def test_a_session_counts_the_tokens_of_an_interrupted_answer_for_its_speech(
    emulator: Emulator, llm: trunkline.LLM
) -> None:
    told: list[LLMMetrics] = []

    def note(event: MetricsCollectedEvent) -> None:
        if isinstance(event.metrics, LLMMetrics):
            told.append(event.metrics)

    gate = emulator.faults.hold(event=6)
    async with session_of(llm, Agent(instructions="Be brief.")) as session:
        session.on("metrics_collected", note)
        speech = session.generate_reply(user_input="one two three four five six seven")
        await until(lambda: emulator.requests)
        await until(lambda: llm.client.state().in_flight)
        await speech.interrupt()
        gate.open()
        await until(lambda: any(each.total_tokens for each in told))
        assert {each.speech_id for each in told} == {speech.id}
        assert sum(each.total_tokens for each in told) == latest(emulator).resource["usage"]["total_tokens"]
        MetricsCollectedEvent(metrics=told[-1]).model_dump_json()


async def test_metrics_have_the_facts_of_trunkline(
    emulator: Emulator, llm: trunkline.LLM, metrics: list[Any]
) -> None:
    chat_ctx = context("Hello there, how are you?")
    await ask(llm, chat_ctx)
    emulator.faults.add("drop", event_type="response.in_progress")
    chat_ctx.add_message(role="user", content="Fine")
    await ask(llm, chat_ctx)
    chat_ctx.add_message(role="user", content="Go on")
    await ask(llm, chat_ctx)
    assert [type(told) for told in metrics] == [trunkline.LLMMetrics] * 3
    assert [(told.mode, told.attempts, told.recoveries) for told in metrics] == [
        ("full", 1, []),
        ("delta", 2, ["connection"]),
        ("delta", 1, []),
    ]
    assert [told.connection for told in metrics] == [1, 2, 2]
    assert {told.transport for told in metrics} == {"websocket"}
    assert all(told.lane for told in metrics)
    sizes = [request.size_bytes for request in emulator.requests]
    assert [told.bytes_sent for told in metrics] == [sizes[0], sizes[1] + sizes[2], sizes[3]]
    assert metrics[2].full_bytes > metrics[2].bytes_sent
    assert metrics[2].bytes_received > 0
    assert metrics[2].items_sent == 1


async def test_the_phase_of_a_message_goes_there_and_back(emulator: Emulator, llm: trunkline.LLM) -> None:
    seen: list[dict[str, Any]] = []
    emulator.on_request.append(lambda request: seen.append(request.body or {}))
    chat_ctx = context("Hello there")
    async with llm.chat(chat_ctx=chat_ctx) as stream:
        answer = await stream.collect()
    phase = latest(emulator).output[0].get("phase")
    if phase is not None:
        assert answer.extra == {"openai": {"phase": phase}}
    chat_ctx.add_message(
        role="assistant", content="Something else.", extra={"openai": {"phase": "commentary"}}
    )
    chat_ctx.add_message(role="user", content="Go on")
    await ask(llm, chat_ctx)
    assert seen[-1]["input"][1] == {"role": "assistant", "content": "Something else.", "phase": "commentary"}


async def test_a_refusal_is_spoken(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("secret").refuses("I cannot tell.")
    assert (await ask(llm, context("Tell me a secret"))).text == "I cannot tell."


@pytest.mark.parametrize("place", ["deltas", "done", "final"])
@pytest.mark.parametrize("refuses", [False, True])
async def test_text_in_one_place_is_spoken_once(
    emulator: Emulator, llm: trunkline.LLM, place: str, refuses: bool
) -> None:
    emulator.faults.add("one_place", place=place)
    expected = emulator.expect("secret")
    _ = expected.refuses("I cannot tell.") if refuses else expected.says("I cannot tell.")
    assert (await ask(llm, context("Tell me a secret"))).text == "I cannot tell."


async def test_calls_take_the_models_own_words_again(emulator: Emulator, llm: trunkline.LLM) -> None:
    """LiveKit reformats the arguments of a call; the service compares their text."""

    def model(prompt: Prompt) -> list[Any]:
        if prompt.outputs:
            return [Say(["Done."])]
        return [Call("get_weather", '{ "city":"Oslo" }')]

    emulator.add_model("gpt-6-astra", model)
    chat_ctx = context("Is it cold?")
    (call,) = (await ask(llm, chat_ctx, tools=[get_weather])).tool_calls
    made = FunctionCall(call_id=call.call_id, name=call.name, arguments='{"city": "Oslo"}')
    output = FunctionCallOutput(call_id=call.call_id, name=call.name, output="12", is_error=False)
    chat_ctx.items.extend([made, output])
    await ask(llm, chat_ctx, tools=[get_weather])
    assert [item["type"] for item in emulator.requests[-1].body["input"]] == ["function_call_output"]  # type: ignore[index]
    made.arguments = '{"city": "Rome"}'
    chat_ctx.add_message(role="user", content="And now?")
    await ask(llm, chat_ctx, tools=[get_weather])
    assert latest(emulator).effective_context[1]["arguments"] == '{"city": "Rome"}'


@pytest.fixture
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)
    return exporter


async def test_spans_tell_of_the_request(
    emulator: Emulator, llm: trunkline.LLM, spans: InMemorySpanExporter
) -> None:
    await ask(llm, context("Hello there"))
    found: dict[str, ReadableSpan] = {span.name: span for span in spans.get_finished_spans()}
    told = found["llm_request"].attributes or {}
    assert told["gen_ai.request.model"] == "gpt-6-astra"
    assert told["gen_ai.response.id"] == latest(emulator).id
    assert told["gen_ai.usage.input_tokens"] == latest(emulator).resource["usage"]["input_tokens"]
