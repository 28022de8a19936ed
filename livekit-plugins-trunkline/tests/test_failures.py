"""Conversion of errors to LiveKit's, and which side retries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trunkline as core
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.llm import FallbackAdapter, FunctionCall, FunctionCallOutput
from livekit.agents.metrics import LLMMetrics
from livekit.agents.types import APIConnectOptions
from livekit.agents.utils import http_context
from livekit.plugins import openai, trunkline
from livekit.plugins.trunkline.failures import livekit_error
from trunkline.emulator import Call, Emulator, Gate, Reason, Say
from trunkline.emulator.pace import Pace

from .talk import MODEL, ONCE, SOON, ask, check_context, chunks_of, context, responses

DELTA = "response.output_text.delta"
LONG = "one two three four five six seven eight nine ten"


async def hear(llm: trunkline.LLM, heard: list[str], gate: Gate) -> None:
    """One request; the received text is kept if the answer ends early. The first text opens the gate."""
    async with llm.chat(chat_ctx=context(LONG), conn_options=SOON) as stream:
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                heard.append(chunk.delta.content)
                gate.open()


def as_livekits(error: core.TrunklineError, **facts: bool) -> Any:
    return livekit_error(error, **{"spoken": False, "acts": False, **facts})


RETRYABLE: list[tuple[core.TrunklineError, type[APIError], bool]] = [
    (core.ConnectFailed("x"), APIConnectionError, True),
    (core.ConnectionLost(sent=True), APIConnectionError, True),
    (core.ProtocolViolation("x"), APIConnectionError, True),
    (core.SlowConsumer(1), APIConnectionError, False),
    (core.DeadlineExceeded("connect", 1), APITimeoutError, True),
    (core.DeadlineExceeded("first_event", 1, sent=True), APITimeoutError, True),
    (core.DeadlineExceeded("total", 1, sent=True), APITimeoutError, False),
    (core.UpgradeRefused(401, headers={}), APIStatusError, False),
    (core.UpgradeRefused(404, headers={}), APIStatusError, False),
    (core.UpgradeRefused(429, headers={}), APIStatusError, True),
    (core.UpgradeRefused(503, headers={}), APIStatusError, True),
    (core.ResponseRefused("x", status=400, code="invalid_prompt"), APIStatusError, False),
    (core.ResponseRefused("x", status=429), APIStatusError, True),
    (core.ResponseRefused("x", code="server_error"), APIStatusError, True),
    (core.ResponseRefused("x", code="invalid_prompt"), APIStatusError, False),
    (core.ResponseFailed("x", code="server_error"), APIStatusError, True),
    (core.ResponseFailed("x", code="invalid_prompt"), APIStatusError, False),
    (core.ConfigurationError("x"), APIError, False),
    (core.ClientClosed("x"), APIError, False),
]


@pytest.mark.parametrize(("error", "kind", "retryable"), RETRYABLE)
def test_each_error_becomes_one_of_livekits(
    error: core.TrunklineError, kind: type[APIError], retryable: bool
) -> None:
    made = as_livekits(error)
    assert type(made) is kind
    assert made.retryable is retryable


@pytest.mark.parametrize(("error", "kind", "retryable"), RETRYABLE)
def test_nothing_is_retryable_once_something_was_said(
    error: core.TrunklineError, kind: type[APIError], retryable: bool
) -> None:
    assert as_livekits(error, spoken=True).retryable is False


def test_tools_that_may_have_acted_are_not_asked_twice() -> None:
    assert as_livekits(core.ConnectionLost(sent=True), acts=True).retryable is False
    assert as_livekits(core.ConnectionLost(sent=False), acts=True).retryable is True


def test_facts_are_kept() -> None:
    refused = core.ResponseRefused("no", status=429, code="c", error_type="t", param="p", request_id="r")
    made = as_livekits(refused)
    assert (made.status_code, made.request_id) == (429, "r")
    assert made.body == {"message": "no", "type": "t", "param": "p", "code": "c"}
    failed = core.ResponseFailed("no", response={"error": {"code": "c", "message": "m"}}, code="c")
    assert as_livekits(failed).body == {"code": "c", "message": "m"}
    upgrade = core.UpgradeRefused(503, headers={"x-request-id": "r"}, body=b"busy")
    assert (as_livekits(upgrade).request_id, as_livekits(upgrade).body) == ("r", "busy")


@pytest.mark.parametrize("shape", ["nested", "flat"])
async def test_errors_of_both_shapes_are_told(shape: str, emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.faults.add("reject", status=400, code="invalid_prompt", message="It is no good.")
    if shape == "flat":
        emulator.faults.add("flat_error", event_type="error")
    with pytest.raises(APIStatusError) as refused:
        await ask(llm, context("Hello"))
    assert "It is no good." in refused.value.message
    assert refused.value.body["code"] == "invalid_prompt"  # type: ignore[index]
    assert not refused.value.retryable
    assert len(emulator.requests) == 1


async def test_an_overloaded_service_is_asked_again_by_livekit_alone(
    emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    emulator.faults.add("reject", status=503, times=None)
    with pytest.raises(APIConnectionError, match="after 3 attempts"):
        await ask(llm, context("Hello"), conn_options=SOON)
    assert len(emulator.requests) == 3
    assert [error.recoverable for error in errors] == [True, True, False]


async def test_without_retries_one_request_is_made(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.faults.add("reject", status=429, headers={"retry-after": "0"}, times=None)
    with pytest.raises(APIStatusError) as refused:
        await ask(llm, context("Hello"), conn_options=ONCE)
    assert (refused.value.status_code, refused.value.retryable) == (429, True)
    assert len(emulator.requests) == 1


async def test_a_socket_lost_before_any_word_is_made_up_for_at_once(
    emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    emulator.faults.add("drop", event_type="response.in_progress")
    assert (await ask(llm, context("Hello"), conn_options=ONCE)).text == "You said: Hello"
    assert errors == []


@pytest.mark.parametrize("action", ["drop", "close", "fail", "corrupt", "truncate"])
async def test_nothing_is_said_twice(
    action: str, emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    gate = emulator.faults.hold(event=6)
    emulator.faults.add(action, event_type=DELTA, event=9)
    heard: list[str] = []
    with pytest.raises(APIError) as broken:
        await hear(llm, heard, gate)
    assert f"You said: {LONG}".startswith("".join(heard))
    assert heard
    assert not broken.value.retryable
    assert len(responses(emulator)) == 1
    assert [error.recoverable for error in errors] == [False]


@pytest.mark.parametrize("missing", ["response.created", "response.output_item.added"])
async def test_the_time_out_bounds_the_first_output(
    missing: str, emulator: Emulator, llm: trunkline.LLM
) -> None:
    emulator.faults.add("stall", event_type=missing, times=None)
    options = APIConnectOptions(max_retry=0, timeout=0.2)
    with pytest.raises(APITimeoutError) as late:
        await asyncio.wait_for(ask(llm, context("Hello"), conn_options=options), 5)
    assert late.value.retryable


async def test_the_time_out_does_not_bound_the_answer(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.pace = Pace(0.3, 10)
    options = APIConnectOptions(max_retry=0, timeout=1.0)
    assert (await ask(llm, context(LONG), conn_options=options)).text == f"You said: {LONG}"


async def test_the_time_out_bounds_connecting(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", seconds=30, times=None)
    options = APIConnectOptions(max_retry=0, timeout=0.2)
    client = trunkline.Client(base_url=emulator.base_url, api_key=emulator.api_key, transport="websocket")
    async with client, trunkline.LLM(model=MODEL, client=client) as llm:
        with pytest.raises(APITimeoutError):
            await asyncio.wait_for(ask(llm, context("Hello"), conn_options=options), 5)


async def test_where_websocket_cannot_be_had_http_takes_its_place(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=403, times=None)
    llm = trunkline.LLM(model=MODEL, base_url=emulator.base_url, api_key=emulator.api_key or "")
    async with llm:
        assert (await ask(llm, context("Hello"), conn_options=ONCE)).text == "You said: Hello"
    assert {made.transport for made in responses(emulator)} == {"http"}


async def test_a_key_that_is_refused_is_not_tried_again(emulator: Emulator) -> None:
    async with trunkline.LLM(model=MODEL, base_url=emulator.base_url, api_key="sk-wrong") as llm:
        with pytest.raises(APIStatusError) as refused:
            await ask(llm, context("Hello"), conn_options=SOON)
    assert (refused.value.status_code, refused.value.retryable) == (401, False)


@pytest.mark.parametrize("ours_first", [True, False])
async def test_the_fallback_adapter_takes_ours_on_either_side(ours_first: bool, emulator: Emulator) -> None:
    async with Emulator() as other, http_context.open():
        ours = trunkline.LLM(model=MODEL, base_url=emulator.base_url, api_key=emulator.api_key or "")
        theirs = openai.responses.LLM(
            model=MODEL, base_url=f"{other.base_url}/responses", api_key=other.api_key or ""
        )
        failing, working = (emulator, other) if ours_first else (other, emulator)
        failing.faults.add("reject", status=503, times=None)
        adapter = FallbackAdapter([ours, theirs] if ours_first else [theirs, ours], retry_interval=0.01)
        chat_ctx = context("Hello")
        assert (await ask(adapter, chat_ctx)).text == "You said: Hello"
        chat_ctx.add_message(role="user", content="How are you")
        assert (await ask(adapter, chat_ctx)).text == "You said: How are you"
        assert len(responses(working)) == 2
        await asyncio.gather(*(s.recovering_task for s in adapter._status if s.recovering_task))
        await adapter.aclose()
        await ours.aclose()
        await theirs.aclose()


async def test_a_turn_that_failed_is_asked_again_in_full_context(
    emulator: Emulator, llm: trunkline.LLM
) -> None:
    chat_ctx = context("Hello")
    await ask(llm, chat_ctx)
    chat_ctx.add_message(role="user", content="How are you")
    emulator.faults.add("reject", status=400, code="invalid_prompt", times=2)  # in full as well
    with pytest.raises(APIStatusError):
        await ask(llm, chat_ctx)
    chat_ctx.add_message(role="user", content="I asked how you are")
    await ask(llm, chat_ctx)
    said = [item["content"] for item in responses(emulator)[-1].effective_context]
    assert [text if isinstance(text, str) else text[0]["text"] for text in said] == [
        "Hello",
        "You said: Hello",
        "How are you",
        "I asked how you are",
    ]


async def test_an_empty_answer_is_an_error_that_is_retried(emulator: Emulator, llm: trunkline.LLM) -> None:
    answers: list[list[Any]] = [[], [Say(["Here ", "I am."])]]
    emulator.add_model(MODEL, lambda prompt: answers.pop(0))
    used: list[LLMMetrics] = []
    llm.on("metrics_collected", used.append)
    assert (await ask(llm, context("Hello"), conn_options=SOON)).text == "Here I am."
    empty, said = (made.resource["usage"]["total_tokens"] for made in responses(emulator))
    assert [(told.total_tokens, told.ttft == -1, told.cancelled) for told in used] == [
        (empty, True, False),
        (said, False, False),
    ]


async def test_an_incomplete_answer_without_output_is_an_error(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.add_model(MODEL, lambda prompt: [Reason("Let me think about that for a while.")])
    async with trunkline.LLM(model=MODEL, client=client, max_output_tokens=2) as llm:
        with pytest.raises(APIError, match="raise max_output_tokens") as broken:
            await ask(llm, context("Hello"), conn_options=SOON)
    assert not broken.value.retryable
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("limit", [None, 2])
async def test_the_fallback_adapter_goes_on_after_an_answer_without_output(
    limit: int | None, emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.add_model("thinks-only", lambda prompt: [Reason("Let me think about that for a while.")])
    options: dict[str, Any] = {} if limit is None else {"max_output_tokens": limit}
    first = trunkline.LLM(model="thinks-only", client=client, **options)
    second = trunkline.LLM(model=MODEL, client=client)
    adapter = FallbackAdapter([first, second], retry_interval=0.01)
    assert (await ask(adapter, context("Hello"))).text == "You said: Hello"
    await asyncio.gather(*(s.recovering_task for s in adapter._status if s.recovering_task))
    await adapter.aclose()


async def test_a_model_may_be_silent_after_a_tool(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.add_model(MODEL, lambda prompt: [] if prompt.outputs else [Call("hang_up", "{}")])
    chat_ctx = context("Bye")
    (call,) = (await ask(llm, chat_ctx, conn_options=ONCE)).tool_calls
    chat_ctx.items.append(FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments))
    output = FunctionCallOutput(call_id=call.call_id, name=call.name, output="done", is_error=False)
    chat_ctx.items.append(output)
    assert [chunk.usage is not None for chunk in await chunks_of(llm, chat_ctx, conn_options=ONCE)] == [True]


async def test_a_call_that_is_not_answered_is_not_continued(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("cold").calls("get_weather", city="Oslo")
    chat_ctx = context("Hello")
    await ask(llm, chat_ctx)
    chat_ctx.add_message(role="user", content="Is it cold?")
    (call,) = (await ask(llm, chat_ctx)).tool_calls
    made = FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
    chat_ctx.items.append(made)
    chat_ctx.add_message(role="user", content="Never mind")
    await ask(llm, chat_ctx)
    first, _, last = responses(emulator)
    assert last.previous_response_id == first.id
    check_context(last, chat_ctx.items)
    output = FunctionCallOutput(call_id=call.call_id, name=call.name, output="12", is_error=False)
    chat_ctx.items.insert(chat_ctx.items.index(made) + 1, output)
    chat_ctx.add_message(role="user", content="And now?")
    await ask(llm, chat_ctx)
    check_context(responses(emulator)[-1], chat_ctx.items)
