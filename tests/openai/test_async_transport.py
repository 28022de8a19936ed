from __future__ import annotations

import asyncio
import contextlib
import gc
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from openai import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from pydantic import BaseModel

import trunkline
import trunkline.openai
from trunkline._face.outcome import Broken
from trunkline.emulator import Emulator, Prompt, Reason, Say, Step, assert_context, words

from ..talk import WEATHER
from ..waiting import TIME_SCALE, until
from .talk import BROKEN, JSON, Modes, dropin, plain, sent_back, transport_of, user


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[AsyncOpenAI]:
    async with dropin(emulator) as opened:
        yield opened


@pytest.fixture
async def zdr() -> AsyncIterator[Emulator]:
    async with Emulator(zdr=True) as running:
        yield running


# Conversations.


@pytest.mark.parametrize("retention", [False, True, "silent"], ids=["stored", "zdr", "silent zdr"])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_a_history_is_sent_as_deltas(retention: Any, is_streamed: bool) -> None:
    async with Emulator(zdr=retention) as emulator, dropin(emulator) as client:
        items: list[JSON] = []
        modes = Modes(client)
        ask = modes.stream if is_streamed else modes.create
        for number in range(4):
            items.append(user(f"turn {number}"))
            response = await ask(input=items, model="reason")
            assert response.output_text == f"turn {number}"
            assert response.previous_response_id is None
            assert_context(emulator.effective_context(response.id), items)
            items += sent_back(response.output)
        assert modes.seen == ["full", "delta", "delta", "delta"]
        assert {request.transport for request in emulator.requests} == {"websocket"}


@pytest.mark.parametrize("retention", [False, True, "silent"], ids=["stored", "zdr", "silent zdr"])
async def test_responses_are_chained_by_their_ids(retention: Any) -> None:
    async with Emulator(zdr=retention) as emulator, dropin(emulator) as client:
        modes, parent, said = Modes(client), None, []
        for number in range(4):
            response = await modes.create(input=f"turn {number}", model="reason", previous_response_id=parent)
            assert response.previous_response_id == parent
            said.append(user(f"turn {number}"))
            assert_context(emulator.effective_context(response.id), said)
            said += sent_back(response.output)
            parent = response.id
        assert modes.seen == ["full", "delta", "delta", "delta"]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_callers_of_a_server_that_repeats_ids_continue_their_own_conversations(
    *, is_streamed: bool
) -> None:
    async with (
        Emulator(quirks=["xai"]) as emulator,
        dropin(emulator, of_transport={"lanes": False}) as client,
    ):
        modes, parents, ids = Modes(client), dict.fromkeys("ab"), []
        ask = modes.stream if is_streamed else modes.create
        said: dict[str, list[JSON]] = {"a": [], "b": []}
        for number in range(3):
            for name, parent in list(parents.items()):
                said[name].append(user(f"{name} {number}"))
                response = await ask(input=f"{name} {number}", previous_response_id=parent)
                assert response.previous_response_id == parent
                record = list(emulator.responses.values())[-1]
                assert_context(record.effective_context, said[name])
                said[name] += sent_back(response.output)
                parents[name] = response.id
                ids.append(response.id)
        assert len({record.wire_id for record in emulator.responses.values()}) == 1
        assert len(set(ids)) == 6


async def test_an_id_that_was_repeated_since_is_not_passed_on() -> None:
    async with (
        Emulator(quirks=["xai"]) as emulator,
        dropin(emulator, of_transport={"lanes": False}) as client,
    ):
        left = await client.responses.create(model="echo", input="a", stream=True)
        async with left:
            first = await anext(aiter(left))
        assert first.type == "response.created"
        while len(emulator.responses) < 3:  # the answer that was left drains first
            await client.responses.create(model="echo", input="b")
        with pytest.raises(BadRequestError, match="not found") as raised:
            await client.responses.create(model="echo", input="c", previous_response_id=first.response.id)
        assert raised.value.code == "previous_response_not_found"


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_service_that_ignores_the_id_of_a_caller_says_so(
    emulator: Emulator, client: AsyncOpenAI, *, is_streamed: bool
) -> None:
    async with plain(emulator) as other:
        unknown = await other.responses.create(model="echo", input="one")
    modes = Modes(client)
    ask = modes.stream if is_streamed else modes.create
    assert (await ask(input="two", previous_response_id=unknown.id)).previous_response_id == unknown.id
    emulator.faults.add("ignore_parent")
    assert (await ask(input="three", previous_response_id=unknown.id)).previous_response_id is None
    assert {request.transport for request in emulator.requests[1:]} == {"websocket"}


async def test_a_history_without_the_compactions_of_the_service_is_sent_as_deltas(
    emulator: Emulator, client: AsyncOpenAI
) -> None:
    modes, items = Modes(client), [user("x" * 400)]
    compacts: Any = {"context_management": [{"type": "compaction", "compact_threshold": 50}]}
    first = await modes.create(input=items, **compacts)
    assert [item.type for item in first.output] == ["compaction", "message"]
    items += [{"role": "assistant", "content": first.output_text}, user("more")]
    second = await modes.create(input=items, **compacts)
    assert modes.seen == ["full", "delta"]
    assert second.output_text == "more"
    assert emulator.effective_context(second.id)[0]["type"] == "compaction"


async def test_two_requests_after_one_response_are_forks(emulator: Emulator, client: AsyncOpenAI) -> None:
    modes = Modes(client)
    first = await modes.create(input="hello", store=False)
    await asyncio.gather(
        *(modes.create(input=name, previous_response_id=first.id, store=False) for name in "abc")
    )
    for record in list(emulator.responses.values())[1:]:
        assert len(record.effective_context) == 3
    assert not emulator.requests[0].error


async def test_a_tool_conversation(emulator: Emulator, client: AsyncOpenAI) -> None:
    modes, items = Modes(client), [user("weather in Oslo and Bergen?")]
    first = await modes.create(input=items, tools=[WEATHER], model="gpt-6-astra", store=False)
    items += sent_back(first.output)
    calls = [item for item in first.output if item.type == "function_call"]
    items += [
        {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"} for call in calls
    ]
    second = await modes.create(input=items, tools=[WEATHER], model="gpt-6-astra", store=False)
    assert "12 degrees" in second.output_text
    assert modes.seen == ["full", "delta"]
    assert_context(emulator.effective_context(second.id), items)


async def test_a_key_names_the_conversation_and_is_not_sent(emulator: Emulator, client: AsyncOpenAI) -> None:
    modes = Modes(client)
    header = {"x-trunkline-key": "call-17"}
    first = await modes.create(input="hello", instructions="one", extra_headers=header)
    items = [user("hello"), {"role": "assistant", "content": first.output_text}, user("more")]
    await modes.create(input=items, instructions="two", extra_headers=header)
    assert modes.seen == ["full", "delta"]
    assert not any("trunkline" in name.lower() for each in emulator.connections for name in each.headers)


async def test_a_function_computes_the_key(emulator: Emulator) -> None:
    def key(headers: Any, fields: Any) -> Any:
        assert headers["authorization"]
        return fields["metadata"].get("call")

    async with dropin(emulator, of_transport={"key": key}) as client:
        modes = Modes(client)
        first = await modes.create(input="hello", metadata={"call": "1"}, instructions="one")
        items = [user("hello"), *sent_back(first.output), user("more")]
        await modes.create(input=items, metadata={"call": "1"}, instructions="two")
        await modes.create(input=items, metadata={}, instructions="three")
        assert modes.seen == ["full", "delta", "full"]


async def test_a_key_that_is_given_twice_is_an_error(emulator: Emulator) -> None:
    async with dropin(emulator) as client:
        http = client._client
        answer = await http.post(
            f"{emulator.base_url}/responses",
            headers=[("x-trunkline-key", "a"), ("x-trunkline-key", "b")],
            json={"model": "echo", "input": "hello"},
        )
        assert answer.status_code == 400
        assert "given 2 times" in answer.json()["error"]["message"]


async def test_a_deleted_response_is_not_continued(emulator: Emulator, client: AsyncOpenAI) -> None:
    modes = Modes(client)
    first = await modes.create(input="hello")
    await client.responses.delete(first.id)
    items = [user("hello"), *sent_back(first.output), user("more")]
    await modes.create(input=items)
    assert modes.seen == ["full", "full"]
    with pytest.raises(BadRequestError):
        await modes.create(input="more", previous_response_id=first.id)


# What the SDK sees.


async def test_events_are_those_of_http(emulator: Emulator, client: AsyncOpenAI) -> None:
    async def lines(of: AsyncOpenAI) -> list[str]:
        asked = [user("weather in Oslo?")]
        body: Any = {"model": "mixed", "input": asked, "tools": [WEATHER], "stream": True}
        async with of.responses.with_streaming_response.create(**body) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            return [line async for line in answer.iter_lines()]

    async with plain(emulator) as without:
        expected, found = await lines(without), await lines(client)
    assert [_same(line) for line in found] == [_same(line) for line in expected]


def _same(line: str) -> str:
    """A line without ids, times and cached tokens."""
    line = re.sub(r'"cached_tokens":\d+', '"cached_tokens":0', line)
    line = re.sub(r'"(resp|msg|rs|fc|call)_[0-9a-zA-Z]+"', '"id"', line)
    return re.sub(r'"(created_at|completed_at)":\d+', r'"\1":0', line)


async def test_structured_output_is_parsed(client: AsyncOpenAI) -> None:
    class Place(BaseModel):
        city: str
        inhabitants: int

    parsed = await client.responses.parse(model="gpt-6-astra", input="7 people in Oslo", text_format=Place)
    assert parsed.output_parsed == Place(city="Oslo", inhabitants=7)


async def test_headers_tell_how_a_request_was_sent(client: AsyncOpenAI) -> None:
    raw = await client.responses.with_raw_response.create(model="echo", input="hello")
    assert raw.headers["x-trunkline-mode"] == "full"
    assert raw.headers["x-trunkline-transport"] == "websocket"
    assert raw.headers["x-trunkline-lane"]


async def test_state_and_metrics_are_counted(client: AsyncOpenAI) -> None:
    transport = transport_of(client)
    assert transport.state().sockets == transport.metrics.turns == 0
    await Modes(client).create(input="hello")
    assert transport.state().sockets == transport.metrics.turns == transport.metrics.fulls == 1


async def test_hooks_are_called(emulator: Emulator) -> None:
    seen: list[str] = []
    hooks = trunkline.Hooks(turn_finished=lambda metrics: seen.append(metrics.mode))
    async with dropin(emulator, of_transport={"hooks": hooks}) as client:
        await Modes(client).create(input="hello")
    assert seen == ["full"]


# Failures.


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("refuse-400-invalid_prompt", BadRequestError),
        ("refuse-429-rate_limit_exceeded", RateLimitError),
        ("refuse-500-server_error", InternalServerError),
        ("refuse-404-model_not_found", NotFoundError),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_a_refusal_is_that_of_http(
    emulator: Emulator, client: AsyncOpenAI, model: str, error: type[APIError], is_streamed: bool
) -> None:
    async with plain(emulator) as without:
        facts = []
        for of in (without, client):
            with pytest.raises(error) as caught:
                await of.responses.create(model=model, input="hello", stream=is_streamed)
            refused: Any = caught.value
            facts.append((refused.status_code, refused.code, refused.type, refused.param, refused.body))
    assert facts[0] == facts[1]


async def test_a_retry_after_is_passed_on(emulator: Emulator, client: AsyncOpenAI) -> None:
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", headers={"retry-after": "7"})
    with pytest.raises(RateLimitError) as caught:
        await Modes(client).create(input="hello")
    assert caught.value.response.headers["retry-after"] == "7"


async def test_the_sdk_repeats_a_request(emulator: Emulator) -> None:
    emulator.faults.add("reject", status=503, headers={"retry-after": "0"})
    async with dropin(emulator, max_retries=1) as client:
        assert (await Modes(client).create(input="hello")).output_text == "hello"
    assert len(emulator.requests) == 2


@pytest.mark.parametrize("model", ["fail-server_error", "fail-after-2-server_error"])
async def test_a_failed_response_is_that_of_http(emulator: Emulator, client: AsyncOpenAI, model: str) -> None:
    async with plain(emulator) as without:
        found = []
        for of in (without, client):
            response = await Modes(of).create(input="hello", model=model)
            found.append((response.status, response.error, len(response.output)))
    assert found[0] == found[1]
    assert found[0][0] == "failed"


@pytest.mark.parametrize("model", ["fail-server_error", "fail-after-2-server_error"])
async def test_the_events_of_a_failed_response_begin_and_end_as_over_http(
    emulator: Emulator, client: AsyncOpenAI, model: str
) -> None:
    stream = await client.responses.create(model=model, input="hello", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert events[-1].response.id == events[0].response.id  # type: ignore[union-attr]


async def test_a_wrong_key_is_refused_as_over_http(emulator: Emulator) -> None:
    async with dropin(emulator, api_key="wrong") as client:
        with pytest.raises(AuthenticationError):
            await Modes(client).create(input="hello")


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_a_socket_that_is_lost_before_output_is_replaced(
    emulator: Emulator, client: AsyncOpenAI, is_streamed: bool
) -> None:
    emulator.faults.add("drop", event=2)
    modes = Modes(client)
    response = await (modes.stream if is_streamed else modes.create)(input="hello")
    assert response.output_text == "hello"
    assert transport_of(client).metrics.recoveries == {trunkline.Cause.CONNECTION: 1}


async def test_a_socket_that_is_lost_amid_output_raises_in_the_stream(
    emulator: Emulator, client: AsyncOpenAI
) -> None:
    emulator.faults.hold(event=7)
    stream = await client.responses.create(model="words-10", input="hello", stream=True)
    assert (await anext(stream)).type == "response.created"
    await emulator.drop_connections()
    with pytest.raises(BROKEN) as caught:
        async for _ in stream:
            pass
    assert isinstance(caught.value.__cause__, httpx2.RemoteProtocolError | Broken)


async def test_an_error_amid_output_is_raised(emulator: Emulator, client: AsyncOpenAI) -> None:
    gate = emulator.faults.hold(event=7)
    emulator.faults.add("fail", event=8, status=500, code="server_error")
    stream = await client.responses.create(model="words-10", input="hello", stream=True)
    assert (await anext(stream)).type == "response.created"
    gate.open()
    with pytest.raises(APIError, match="told to fail"):
        async for _ in stream:
            pass


async def test_a_request_that_may_have_acted_is_not_repeated(emulator: Emulator) -> None:
    emulator.faults.add("drop", event=2, times=None)
    tools: Any = [{"type": "mcp", "server_label": "x", "server_url": "https://example.org/mcp"}]
    async with dropin(emulator, max_retries=2) as client:
        with pytest.raises(InternalServerError) as caught:
            await Modes(client).create(input="hello", tools=tools)
    assert caught.value.status_code == 502
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(emulator.requests) == 1


async def test_a_read_timeout_is_that_of_the_request(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=5, times=None)
    async with dropin(emulator) as client:
        limited = client.with_options(timeout=httpx2.Timeout(60.0 * TIME_SCALE, read=0.3 * TIME_SCALE))
        with pytest.raises(APITimeoutError):
            await Modes(limited).create(input="hello")
        gate.open()


async def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    emulator = Emulator()
    await emulator.start()
    await emulator.stop()
    deadlines = trunkline.Deadlines(connect=0.1)
    async with dropin(emulator, of_transport={"deadlines": deadlines}) as client:
        with pytest.raises(APIConnectionError) as caught:
            await Modes(client).create(input="hello")
        assert isinstance(caught.value.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)


# Over HTTP.


async def test_other_requests_go_over_http(emulator: Emulator, client: AsyncOpenAI) -> None:
    modes = Modes(client)
    response = await modes.create(input="hello", background=True)
    assert response.status == "queued"
    await client.responses.retrieve(response.id)
    assert (await client.models.list()).data
    assert modes.seen == ["http"]
    assert not emulator.connections


@pytest.mark.parametrize(
    "more",
    [
        {"extra_headers": {"Idempotency-Key": "1"}},
        {"extra_body": {"stream_id": "mine"}},
        {"extra_body": {"input": 7}},
        {"extra_body": {"model": None}},
        {"extra_body": {"previous_response_id": 7}},
        {"extra_body": {"stream": 1}},
    ],
    ids=["idempotency key", "frame field", "input", "no model", "wrong parent", "wrong stream"],
)
async def test_what_no_frame_can_carry_goes_over_http(
    emulator: Emulator, client: AsyncOpenAI, more: JSON
) -> None:
    with contextlib.suppress(APIError):  # the service says what is wrong
        await Modes(client).create(input="hello", **more)
    assert [request.transport for request in emulator.requests] == ["http"]


async def test_without_websocket_the_request_of_the_caller_goes_over_http(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=404, times=None)
    async with dropin(emulator) as client:
        modes, items = Modes(client), [user("hello")]
        first = await modes.create(input=items, extra_headers={"x-trunkline-key": "k"})
        assert first.output_text == "hello"
        again = await modes.stream(input="again")
        assert again.output_text == "again"
        assert modes.seen == ["http", "http"]
        # The breaker spares later requests the attempt.
        assert emulator.handshakes == 1


async def test_an_unstored_parent_is_replaced_by_its_context_over_http(zdr: Emulator) -> None:
    async with dropin(zdr) as client:
        modes = Modes(client)
        first = await modes.create(input="hello", model="reason")
        await zdr.drop_connections()
        zdr.faults.add("refuse_upgrade", status=404, times=None)
        second = await modes.create(input="more", model="reason", previous_response_id=first.id)
        assert second.output_text == "more"
        assert modes.seen == ["full", "http"]
        context = zdr.effective_context(second.id)
        assert_context(context, [user("hello"), *sent_back(first.output), user("more")])


async def test_sockets_that_bring_nothing_are_given_up(emulator: Emulator) -> None:
    emulator.faults.add("drop", event=1, transport="websocket", times=None)
    async with dropin(emulator) as client:
        modes = Modes(client)
        assert (await modes.create(input="hello")).output_text == "hello"
        assert (await modes.create(input="again")).output_text == "again"
        assert modes.seen == ["http", "http"]
        assert len(emulator.connections) == 2


async def test_an_environment_variable_turns_it_off(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_OPENAI", "off")
    async with dropin(emulator) as client:
        modes = Modes(client)
        await modes.create(input="hello")
        assert modes.seen == ["http"]


@pytest.mark.parametrize(("more", "mode"), [({}, "http"), ({"proxy": ""}, "full")], ids=["alone", "proxy"])
async def test_a_transport_of_the_caller_needs_a_word_on_proxies(
    emulator: Emulator, more: JSON, mode: str
) -> None:
    async with dropin(emulator, of_transport={"inner": httpx2.AsyncHTTPTransport(), **more}) as client:
        modes = Modes(client)
        await modes.create(input="hello")
        assert modes.seen == [mode]


def test_under_another_event_loop_all_requests_go_over_http() -> None:
    """A coroutine that is driven by hand has no asyncio loop, as under trio."""

    async def inner(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"method": request.method})

    transport = trunkline.openai.AsyncTransport(inner=httpx2.MockTransport(inner), proxy="")
    request = httpx2.Request("POST", "http://x/v1/responses", json={"model": "m", "input": "a"})
    work = transport.handle_async_request(request)
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    assert ended.value.value.json() == {"method": "POST"}


# Life of the sockets.


async def test_clients_with_equal_settings_share_sockets(emulator: Emulator) -> None:
    async with dropin(emulator) as one, dropin(emulator) as other:
        modes, others = Modes(one), Modes(other)
        first = await modes.create(input="hello")
        await others.create(input=[user("hello"), *sent_back(first.output), user("more")])
        assert others.seen == ["delta"]
        assert len(emulator.connections) == 1
        await one.close()
        await others.create(input="still here")
        assert len(emulator.connections) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"api_key": "sk-other"},
        {"organization": "org-other"},
        {"project": "proj-other"},
        {"default_headers": {"X-Tenant": "other"}},
        {"default_query": {"tenant": "other"}},
        {"of_transport": {"limits": trunkline.PoolLimits(max_in_flight=2)}},
    ],
    ids=["key", "organization", "project", "header", "query", "limits"],
)
async def test_clients_with_different_credentials_share_nothing(other: JSON) -> None:
    async with Emulator(api_key=None) as emulator, dropin(emulator) as one, dropin(emulator, **other) as two:
        modes, others = Modes(one), Modes(two)
        first = await modes.create(input="hello")
        items = [user("hello"), *sent_back(first.output), user("more")]
        await others.create(input=items)
        assert others.seen == ["full"] or "of_transport" in other
        assert len(emulator.connections) == 2


@pytest.mark.parametrize("name", ["X-Stainless-Lang", "User-Agent", "traceparent", "X-Client-Request-Id"])
async def test_harmless_headers_are_no_difference(emulator: Emulator, name: str) -> None:
    async with dropin(emulator) as one, dropin(emulator, default_headers={name: "other"}) as other:
        await Modes(one).create(input="hello")
        await Modes(other).create(input="hello")
        assert len(emulator.connections) == 1


async def test_the_headers_of_the_caller_are_those_of_the_upgrade(emulator: Emulator) -> None:
    more = {"X-Tenant": "blue", "OpenAI-Beta": "x=1"}
    async with dropin(emulator, organization="org-1", project="proj-1", default_headers=more) as client:
        await Modes(client).create(input="hello")
        headers = {name.lower(): value for name, value in emulator.connections[0].headers.items()}
    assert headers["authorization"] == f"Bearer {emulator.api_key}"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")
    assert (headers["x-tenant"], headers["openai-beta"]) == ("blue", "x=1")


async def test_leaving_a_stream_is_barge_in(emulator: Emulator, client: AsyncOpenAI) -> None:
    gate = emulator.faults.hold(event=6)
    stream = await client.responses.create(model="words-10", input="hello", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    modes = Modes(client)
    assert (await modes.create(input="next")).output_text == "next"
    assert transport_of(client).state().draining == 1
    gate.open()
    await until(lambda: transport_of(client).state().draining == 0, "the answer drains")


async def test_a_cancelled_request_is_left(emulator: Emulator, client: AsyncOpenAI) -> None:
    gate = emulator.faults.hold(event=5)
    asked = asyncio.create_task(Modes(client).create(input="hello"))
    await until(lambda: bool(emulator.faults.fired), "the response is held")
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open()
    assert (await Modes(client).create(input="next")).output_text == "next"


async def test_a_stream_that_is_dropped_is_left_without_a_warning(
    emulator: Emulator, client: AsyncOpenAI
) -> None:
    gate = emulator.faults.hold(event=6)
    stream = await client.responses.create(model="words-10", input="hello", stream=True)
    await anext(stream)
    del stream
    gc.collect()
    await until(lambda: transport_of(client).state().draining == 1, "the answer is left")
    gate.open()


async def test_a_client_that_is_dropped_leaves_no_warning() -> None:
    async with Emulator() as emulator:

        async def once() -> str:
            client = dropin(emulator)
            response = await Modes(client).create(input="hello")
            text: str = response.output_text
            return text

        def in_own_loop() -> str:
            return asyncio.run(once())

        assert await asyncio.to_thread(in_own_loop) == "hello"
        gc.collect()
        await until(lambda: not emulator.live_connections, "its sockets are closed")


async def test_without_output_the_head_is_sent_after_a_while(
    emulator: Emulator, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline._face.answering.PATIENCE_S", 0.01)
    gate = emulator.faults.hold(event=3)
    answer = await client.responses.create(model="echo", input="hello", stream=True)
    gate.open()
    kinds = [event.type async for event in answer]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


async def test_fields_and_items_travel_as_given(emulator: Emulator, client: AsyncOpenAI) -> None:
    await Modes(client).create(input=[user("é")], temperature=0.50, metadata={"a": "b"}, top_p=None)
    body = emulator.requests[0].body
    assert body is not None
    assert {name: body[name] for name in ("temperature", "metadata", "model")} == {
        "temperature": 0.5,
        "metadata": {"a": "b"},
        "model": "echo",
    }
    assert "stream" not in body
    assert "top_p" not in body


async def test_reasoning_of_others_under_other_instructions_is_not_continued(emulator: Emulator) -> None:
    def thinks(prompt: Prompt) -> list[Step]:
        return [Reason(words("a secret")), Say(words("Hi."))]

    emulator.add_model("thinks", thinks)
    async with dropin(emulator) as client:
        modes = Modes(client)
        await modes.create(input="hello", model="thinks", instructions="one")
        said = [user("hello"), {"role": "assistant", "content": "Hi."}, user("more")]
        second = await modes.create(input=said, model="thinks", instructions="two")
        assert modes.seen == ["full", "full"]
        assert_context(emulator.effective_context(second.id), said, reasoning=True)
