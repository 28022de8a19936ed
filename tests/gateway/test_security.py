"""The promises of docs/gateway.md, "Security": one by one, each with the tests that hold it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import websockets
from aiohttp import web

from trunkline.emulator import Emulator, assert_context
from trunkline.emulator.quirks import PROXY_LIMIT_BYTES
from trunkline.gateway import Gateway
from trunkline.gateway.caller import MAX_FEATURES
from trunkline.gateway.configuration import of

from ..waiting import soon, until
from .running import KEYS, Running, running, with_tenants
from .test_sockets import ended, opened, send

APP, SOCKETS, SERVING, SETTINGS = "test_app", "test_sockets", "test_serving", "test_configuration"
OWN = "test_security"
HELD = {
    # 1. Tenants.
    "Sockets of the upstream are a tenant's own.": (
        f"{APP}::test_tenants_share_neither_sockets_nor_responses",
    ),
    "What is remembered is a tenant's own.": (
        f"{OWN}::test_a_tenant_is_not_continued_by_the_equal_words_of_another",
    ),
    "Limits are a tenant's own.": (
        f"{APP}::test_the_limits_of_a_tenant",
        "test_body::test_one_tenant_leaves_memory_for_others",
        f"{OWN}::test_one_tenant_leaves_websockets_for_others",
    ),
    "Metrics are told by tenant.": ("test_admin::test_the_metrics_tell_turns_and_sockets_by_tenant",),
    # 2. A shared credential.
    "Only responses, their socket, and what the tenant was given are served.": (
        f"{OWN}::test_a_tenant_reads_and_deletes_what_it_was_given_here",
        f"{OWN}::test_a_tenant_continues_what_it_was_given_over_http",
        f"{OWN}::test_an_answer_without_its_end_is_not_given",
        f"{OWN}::test_nothing_else_is_served_with_a_shared_key",
        f"{OWN}::test_a_path_is_not_read_in_two_ways",
        f"{OWN}::test_a_path_goes_up_as_it_came",
    ),
    "Ids in the body are checked.": (
        f"{APP}::test_a_tenant_names_nothing_of_the_shared_key",
        "test_screening::test_what_may_be_of_another_tenant_is_refused",
        f"{OWN}::test_frames_are_checked_like_bodies",
    ),
    "Organisation and project are the gateway's.": (
        f"{OWN}::test_few_headers_of_a_tenant_go_up_with_a_request",
        f"{OWN}::test_few_headers_of_a_tenant_go_up_with_an_upgrade",
    ),
    "Nothing is stored.": (
        f"{OWN}::test_nothing_of_a_tenant_is_stored",
        "test_screening::test_nothing_is_stored_with_a_shared_key",
    ),
    "allow_store needs a credential for the tenant alone.": (
        f"{SETTINGS}::test_each_mistake_is_one_sentence",
        f"{OWN}::test_a_tenant_reads_and_deletes_what_it_was_given_here",
    ),
    "--check remarks tenants with one credential.": (
        f"{SETTINGS}::test_tenants_with_one_upstream_key_are_remarked",
        f"{SERVING}::test_the_checks_of_a_configuration",
    ),
    # 3. Headers.
    "Headers of callers do not go up, but for a list.": (
        f"{OWN}::test_few_headers_of_a_tenant_go_up_with_a_request",
        f"{OWN}::test_few_headers_of_a_tenant_go_up_with_an_upgrade",
    ),
    # 4. Bounds.
    "Bodies are bounded in size and time.": (
        "test_body::test_the_limit_counts_decoded_bytes",
        "test_body::test_a_body_that_does_not_come_is_refused",
        f"{OWN}::test_a_frame_that_is_too_large_ends_its_socket",
    ),
    "One budget of bytes holds bodies and frames, also while they arrive.": (
        "test_body::test_the_memory_for_bodies_is_bounded",
        "test_body::test_a_body_is_counted_while_it_arrives",
        "test_body::test_a_body_is_counted_as_it_is_decompressed",
        f"{SOCKETS}::test_the_memory_of_frames_is_bounded_and_given_back",
    ),
    "Histories have a budget.": (f"{OWN}::test_histories_are_forgotten_beyond_their_budget",),
    "An answer that is not read fails alone.": (
        f"{APP}::test_a_caller_that_reads_nothing_gives_its_turn_back",
        f"{APP}::test_a_caller_that_does_not_read_loses_its_answer_alone",
        f"{SOCKETS}::test_a_caller_that_does_not_read_loses_that_answer_alone",
    ),
    "Sockets, lanes and waiting turns are bounded.": (
        f"{SOCKETS}::test_too_many_sockets_are_refused",
        f"{SOCKETS}::test_a_socket_has_32_names",
        f"{SOCKETS}::test_at_most_16_answers_run_at_a_time",
        f"{SOCKETS}::test_too_many_requests_that_wait_are_refused",
        f"{OWN}::test_a_tenant_cannot_multiply_sockets_upstream",
    ),
    "Beyond a limit: 429 with retry-after.": (
        f"{APP}::test_the_limits_of_a_tenant",
        f"{SOCKETS}::test_the_limits_of_a_tenant_count_frames",
        f"{OWN}::test_one_tenant_leaves_websockets_for_others",
    ),
    # 5. This machine alone.
    "Without tenants it listens on this machine alone.": (f"{SETTINGS}::test_each_mistake_is_one_sentence",),
    "A Unix socket is its owner's alone.": (f"{SERVING}::test_a_unix_socket_is_its_owners_alone",),
    "The application refuses a server that others can reach.": (
        f"{OWN}::test_without_tenants_the_application_refuses_other_addresses",
    ),
    "An upstream key without tenants needs a Unix socket.": (
        f"{SETTINGS}::test_each_mistake_is_one_sentence",
    ),
    "Host, Origin and Content-Type are checked.": (
        f"{APP}::test_a_web_page_cannot_spend_a_key",
        f"{SOCKETS}::test_upgrades_are_admitted_like_requests",
        f"{OWN}::test_a_web_page_cannot_open_a_socket",
    ),
    # 6. Operators.
    "Operators have a listener of their own.": (
        "test_admin::test_operators_have_a_listener_of_their_own",
        f"{OWN}::test_operators_are_on_loopback_unless_told",
    ),
    "Labels come from the configuration only.": (f"{OWN}::test_no_caller_writes_a_label",),
    "The page uses text nodes and a strict policy.": ("test_admin::test_the_page_runs_its_own_script_alone",),
    # 7. Silence.
    "No key and no content is in logs, metrics and errors.": (
        f"{OWN}::test_no_key_and_no_content_is_logged_measured_or_told",
    ),
    # 8. Revocation.
    "Another configuration revokes keys and closes their sockets.": (
        f"{APP}::test_another_configuration_revokes_keys_and_keeps_the_rest",
    ),
    # 9. No loop.
    "OPENAI_BASE_URL is ignored.": (f"{SETTINGS}::test_without_a_file_the_gateway_is_a_sidecar",),
    "The gateway refuses itself as upstream.": (f"{SETTINGS}::test_each_mistake_is_one_sentence",),
    # Requests that two readers read differently.
    "The gateway sends only what it read.": (f"{APP}::test_a_body_that_can_be_read_in_two_ways_is_refused",),
}
"""Each promise, and the tests that hold it."""


@pytest.mark.parametrize("promise", HELD)
def test_each_promise_has_its_tests(promise: str) -> None:
    for test in HELD[promise]:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / f"{file}.py").read_text(), test


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


# 1. Tenants.


async def test_a_tenant_is_not_continued_by_the_equal_words_of_another(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway:
        modes = []
        history: list[Any] = []
        for name in ("voice", "voice", "batch"):
            history.append(user("the same words"))
            async with gateway.openai(KEYS[name]) as client:
                raw = await client.responses.with_raw_response.create(model="echo", input=history)
            modes.append(raw.headers["x-trunkline-mode"])
            history += [item.model_dump(exclude_none=True) for item in raw.parse().output]
        assert modes == ["full", "delta", "full"]


async def test_one_tenant_leaves_websockets_for_others(emulator: Emulator) -> None:
    voice, bounds = {"sockets_inward": 1}, {"sockets_inward": 2}
    async with with_tenants(emulator, voice, bounds=bounds) as gateway, opened(gateway, KEYS["voice"]):
        answer = await refused_upgrade(gateway, KEYS["voice"])
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert b"its sockets_inward allows no more" in (answer.body or b"")
        async with opened(gateway, KEYS["batch"]) as socket:
            await send(socket, "hi")
            assert (await ended(socket))["type"] == "response.completed"


async def refused_upgrade(gateway: Running, key: str | None = None, **headers: str) -> Any:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await opened(gateway, key, **headers).__aenter__()
    return refused.value.response


# 2. A shared credential.


def without_websockets(emulator: Emulator) -> None:
    """From now on the upstream takes requests over HTTP alone."""
    emulator.faults.add("refuse_upgrade", status=404, times=None)


@pytest.mark.parametrize("over_http", [False, True])
async def test_a_tenant_reads_and_deletes_what_it_was_given_here(emulator: Emulator, over_http: bool) -> None:
    if over_http:
        without_websockets(emulator)
    async with owning(emulator) as gateway, gateway.openai() as client:
        made = await client.responses.create(model="echo", input="hi", store=True)
        assert (await client.responses.retrieve(made.id)).output_text == "hi"
        (item,) = (await client.responses.input_items.list(made.id)).data
        assert item.type == "message"
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError, match="is not served for this key"):
            await client.responses.retrieve(made.id)


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("store", [False, True])
async def test_a_tenant_continues_what_it_was_given_over_http(
    emulator: Emulator, is_streamed: bool, store: bool
) -> None:
    """Tenants of one key: what the one was given is unknown to the other."""
    without_websockets(emulator)
    made = owning if store else with_tenants
    async with made(emulator) as gateway, gateway.openai() as client:
        parent_id, said = None, []
        for text in ("one", "two", "three"):
            asking: Any = {"model": "echo", "input": text, "previous_response_id": parent_id, "store": store}
            if is_streamed:
                events = [event async for event in await client.responses.create(**asking, stream=True)]
                assert [event.response.previous_response_id for event in (events[0], events[-1])] == [
                    parent_id,
                    parent_id,
                ]
                response = events[-1].response
            else:
                response = await client.responses.create(**asking)
            assert response.previous_response_id == parent_id
            parent_id = response.id
            said.append(user(text))
            assert_context(emulator.effective_context(parent_id), said)
            said.append({"type": "message", "role": "assistant", "content": text})
        assert {request.transport for request in emulator.requests} == {"http"}
        async with gateway.openai(KEYS["batch"]) as other:
            with pytest.raises(openai.BadRequestError, match="not found"):
                await other.responses.create(model="echo", input="more", previous_response_id=parent_id)
        assert len(emulator.requests) == 3


async def test_our_client_needs_one_request_for_a_turn_over_http(emulator: Emulator) -> None:
    without_websockets(emulator)
    async with with_tenants(emulator) as gateway, gateway.client(transport="websocket") as client:
        chat = client.conversation(model="echo", store=False)
        for text in ("one", "two", "three"):
            async with chat.send(text) as stream:
                response = await stream.finish()
            assert_context(emulator.effective_context(response.id), chat.items[:-1])
        assert len(emulator.requests) == 3


async def test_an_answer_without_its_end_is_not_given(emulator: Emulator) -> None:
    without_websockets(emulator)
    emulator.faults.hold(event_type="response.completed")
    async with with_tenants(emulator) as gateway, gateway.openai() as client:
        events = await client.responses.create(model="echo", input="hi", stream=True)
        first = await soon(anext(aiter(events)))
        assert first.type == "response.created"
        await events.close()
        await until(lambda: gateway.gateway.life.running == 0, "the answer is left")
        with pytest.raises(openai.BadRequestError, match="not found"):
            await client.responses.create(model="echo", input="more", previous_response_id=first.response.id)
        assert len(emulator.requests) == 1


async def test_a_request_that_is_too_large_for_a_socket_is_remembered() -> None:
    large = "x" * (PROXY_LIMIT_BYTES + 1000)
    async with (
        Emulator(quirks=["proxy-limit"]) as emulator,
        with_tenants(emulator) as gateway,
        gateway.openai() as client,
    ):
        asking: Any = {"model": "words-3", "store": False}
        first = await client.responses.create(input="small", **asking)
        second = await client.responses.create(input=large, previous_response_id=first.id, **asking)
        third = await client.responses.create(input="more", previous_response_id=second.id, **asking)
        said = {"type": "message", "role": "assistant", "content": first.output_text}
        assert_context(
            emulator.effective_context(third.id), [user("small"), said, user(large), said, user("more")]
        )
        assert emulator.requests[0].transport == "websocket"
        assert emulator.requests[-1].transport == "http"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "responses/resp_of_another"),
        ("DELETE", "responses/resp_of_another"),
        ("GET", "responses/resp_of_another/input_items"),
        ("POST", "responses/OWN/cancel"),
        ("PUT", "responses/OWN"),
        ("GET", "responses/OWN/more"),
        ("GET", "responses/OWN/../resp_of_another"),
        ("GET", "responses"),
        ("GET", "responses/"),
        ("POST", "responses/compact"),
        ("POST", "responses/input_tokens"),
        ("GET", "models"),
        ("GET", "files"),
        ("POST", "chat/completions"),
        ("GET", "conversations/conv_1/items"),
        ("GET", "organization/usage/completions"),
    ],
)
async def test_nothing_else_is_served_with_a_shared_key(emulator: Emulator, method: str, path: str) -> None:
    async with owning(emulator) as gateway, gateway.openai() as client:
        made = await client.responses.create(model="echo", input="hi", store=True)
        answer = await asked(gateway, method, f"/v1/{path.replace('OWN', made.id)}")
        assert answer.startswith(b"HTTP/1.1 404")
        assert len(emulator.requests) == 1


@pytest.mark.parametrize("path", ["OWN%2F..%2Fresp_2", "OWN%3Fx", "%72esp", "%2e%2e/models", "OWN/..%2fx"])
async def test_a_path_is_not_read_in_two_ways(emulator: Emulator, path: str) -> None:
    async with owning(emulator) as gateway, gateway.openai() as client:
        made = await client.responses.create(model="echo", input="hi", store=True)
        path = path.replace("OWN", made.id).replace("%72esp", made.id.replace("r", "%72", 1))
        assert (await asked(gateway, "GET", f"/v1/responses/{path}")).startswith(b"HTTP/1.1 404")
        assert len(emulator.requests) == 1


async def test_a_path_goes_up_as_it_came() -> None:
    async with service() as up, sidecar(up) as gateway:
        await asked(gateway, "GET", "/v1/files/a%2Fb%3Fc?d=%2F")
    assert [request.raw_path for request in up.requests] == ["/v1/files/a%2Fb%3Fc?d=%2F"]


@asynccontextmanager
async def owning(emulator: Emulator) -> AsyncIterator[Running]:
    """A gateway whose tenant "voice" has an upstream of its own, and may store."""
    upstream = {"base_url": emulator.base_url, "lanes": True, "api_key_env": "UPSTREAM_KEY"}
    tables = {"upstream": {"openai": upstream, "own": upstream}}
    async with with_tenants(emulator, {"allow_store": True, "upstream": "own"}, **tables) as gateway:
        yield gateway


async def asked(gateway: Running, method: str, path: str) -> bytes:
    """The answer to a request whose path no client has made tidy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx2.URL(gateway.served.url).port)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {gateway.api_key}\r\n"
    writer.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"previous_response_id": "resp_of_another"}, "previous_response_not_found"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"prompt_cache_options": {"comparison_response_id": "resp_1"}}, "comparison_response_id"),
    ],
)
async def test_frames_are_checked_like_bodies(emulator: Emulator, fields: dict[str, Any], code: str) -> None:
    async with with_tenants(emulator) as gateway, opened(gateway) as socket:
        await send(socket, "hi", **fields)
        error = (await ended(socket))["error"]
        assert code in (error["code"], error["param"])
        assert not emulator.requests


async def test_nothing_of_a_tenant_is_stored(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway:
        async with gateway.openai() as client:
            await client.responses.create(model="echo", input="hi", store=True)
        async with opened(gateway) as socket:
            await send(socket, "hi", store=True)
            assert (await ended(socket))["response"]["store"] is False
        async with gateway.client() as ours:
            chat = ours.conversation(model="echo", store=True)
            await chat.warm()
        assert [(request.body or {})["store"] for request in emulator.requests] == [False] * 3


# 3. Headers.

SENT = {
    "X-Secret": "s",
    "Cookie": "s",
    "X-Forwarded-For": "s",
    "Proxy-Authorization": "s",
    "Api-Key": "s",
    "OpenAI-Organization": "org_of_caller",
    "OpenAI-Project": "proj_of_caller",
    "X-Trunkline-Key": "s",
    "OpenAI-Beta": "kept",
    "Traceparent": "kept",
}
GATEWAYS_OWN = {
    "authorization": "Bearer sk-emulator",
    "openai-organization": "org_1",
    "openai-project": "proj_1",
}


async def test_few_headers_of_a_tenant_go_up_with_a_request(emulator: Emulator) -> None:
    async with (
        service() as up,
        with_tenants(emulator, upstream=upstream_of(up.url)) as gateway,
        gateway.openai(default_headers=SENT) as client,
    ):
        await client.responses.create(model="echo", input="hi")
    (request,) = up.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert "s" not in headers.values()
    kept = {"openai-beta", "openai-organization", "openai-project", "traceparent"}
    assert headers.keys() & {name.lower() for name in SENT} == kept
    assert {name: headers[name] for name in GATEWAYS_OWN} == GATEWAYS_OWN
    assert not any(name.startswith(("x-stainless", "x-trunkline")) for name in headers)


async def test_few_headers_of_a_tenant_go_up_with_an_upgrade(emulator: Emulator) -> None:
    async with with_tenants(emulator, upstream=upstream_of(emulator.base_url)) as gateway:
        async with gateway.openai(default_headers=SENT) as client:
            await client.responses.create(model="echo", input="hi")
        (connection,) = emulator.connections
        headers = {name.lower(): value for name, value in connection.headers.items()}
        assert "s" not in headers.values()
        assert {name: headers[name] for name in GATEWAYS_OWN} == GATEWAYS_OWN
        assert headers["openai-beta"] == "kept"
        assert "x-stainless-lang" not in headers


def upstream_of(base_url: str, **more: Any) -> dict[str, Any]:
    own = {"api_key_env": "UPSTREAM_KEY", "organization": "org_1", "project": "proj_1"}
    return {"openai": {"base_url": base_url, **own, **more}}


class Service:
    """A service without WebSockets, which notes its requests."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "upgrade" in request.headers:
            return web.Response(status=404)
        self.requests.append(request)
        made = {"id": "resp_1", "object": "response", "model": "echo", "status": "completed", "output": []}
        return web.json_response(made)


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    found = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sidecar(up: Service) -> AsyncIterator[Running]:
    """A gateway for everyone on this machine in front of a service."""
    upstream = {"openai": {"base_url": up.url}}
    async with Emulator() as emulator, running(emulator, upstream=upstream) as gateway:
        yield gateway


# 4. Bounds.


async def test_a_frame_that_is_too_large_ends_its_socket(emulator: Emulator) -> None:
    async with running(emulator, bounds={"body_bytes": 1000}) as gateway, opened(gateway) as socket:
        await send(socket, "x" * 1000)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await soon(socket.recv())
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert not emulator.requests


async def test_histories_are_forgotten_beyond_their_budget(emulator: Emulator) -> None:
    async with with_tenants(emulator, bounds={"histories_bytes": 40_000}) as gateway:
        async with gateway.openai(KEYS["batch"]) as other:
            kept = await other.responses.create(model="echo", input="kept")
        async with gateway.openai() as client:
            made = [await client.responses.create(model="echo", input="x" * 4000) for _ in range(4)]
            last = made[-1].id
            await client.responses.create(model="echo", input="on", previous_response_id=last)
            with pytest.raises(openai.BadRequestError, match="not found"):
                await client.responses.create(model="echo", input="on", previous_response_id=made[0].id)
        async with gateway.openai(KEYS["batch"]) as other:
            await other.responses.create(model="echo", input="on", previous_response_id=kept.id)


async def test_a_tenant_cannot_multiply_sockets_upstream(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway, gateway.openai() as client:
        for number in range(20):
            await client.responses.create(model="echo", input="hi", extra_query={"n": number})
        assert len(emulator.connections) == 1
        for number in range(MAX_FEATURES):
            beta = {"OpenAI-Beta": f"feature={number}"}
            await client.responses.create(model="echo", input="hi", extra_headers=beta)
        with pytest.raises(openai.BadRequestError, match="values of OpenAI-Beta"):
            await client.responses.create(model="echo", input="hi", extra_headers={"OpenAI-Beta": "more"})
        await client.responses.create(model="echo", input="hi", extra_headers={"OpenAI-Beta": "feature=0"})
        assert len(emulator.connections) == 1 + MAX_FEATURES


# 5. This machine alone.


@pytest.mark.parametrize(("address", "is_served"), [("10.0.0.1", False), ("127.0.0.1", True), ("::1", True)])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_without_tenants_the_application_refuses_other_addresses(
    emulator: Emulator, address: str, is_served: bool, kind: str
) -> None:
    gateway = Gateway(of({"upstream": {"openai": {"base_url": emulator.base_url}}}, {}))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": kind,
        "method": "POST",
        "path": "/v1/other" if kind == "websocket" else "/v1/responses",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "server": (address, 8787),
        "extensions": {"websocket.http.response": {}},
    }
    await gateway(scope, receive, send)
    assert sent[0]["status"] == ({"http": 400, "websocket": 404}[kind] if is_served else 403)


async def test_a_web_page_cannot_open_a_socket(emulator: Emulator) -> None:
    async with running(emulator) as gateway:
        for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
            assert (await refused_upgrade(gateway, **headers)).status_code == status
    listen = {"port": 0, "origins": ["https://app.example"]}
    async with (
        running(emulator, listen=listen) as gateway,
        opened(gateway, Origin="https://app.example") as socket,
    ):
        await send(socket, "hi")
        assert (await ended(socket))["type"] == "response.completed"


# 6. Operators.


def test_operators_are_on_loopback_unless_told() -> None:
    key = {"keys_sha256": ["ab" * 32]}
    source = {
        "listen": {"host": "0.0.0.0"},
        "upstream": {"openai": {"api_key_env": "KEY"}},
        "tenant": {"a": key},
    }
    found = of(source, {"KEY": "k"})
    assert (found.listen.host, found.admin.host) == ("0.0.0.0", "127.0.0.1")


async def test_no_caller_writes_a_label(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway:
        async with gateway.openai(default_headers={"User-Agent": "written"}) as client:
            for model in ("echo", "written"):
                await client.responses.create(model=model, input="hi", metadata={"written": "written"})
        async with opened(gateway) as socket:
            await send(socket, "hi", "written")
            assert (await ended(socket))["type"] == "response.completed"
        metrics = gateway.gateway.measures.text()
        assert b'tenant="voice"' in metrics
        assert b"written" not in metrics


# 7. Silence.


async def test_no_key_and_no_content_is_logged_measured_or_told(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers, refusals and a lost socket, with logs at their lowest level."""
    secret, key = "the-secret-words", "sk-of-nobody"
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        # The client of the test logs its own requests.
        for name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore", "websockets"):
            caplog.set_level(logging.CRITICAL, name)
        async with with_tenants(emulator) as gateway:
            emulator.faults.add("drop", event=3, times=1)
            for shown in (KEYS["voice"], key):
                async with gateway.openai(shown) as client:
                    for fields in (
                        {},
                        {"input": [user(secret)], "temperature": 9},
                        {"input": [{"type": secret}]},
                        {"prompt": {"id": secret}},
                        {"tools": [{"type": "function", "name": secret, "parameters": 3}]},
                    ):
                        request: Any = {"model": "echo", "input": secret, "stream": True, **fields}
                        try:
                            stream: Any = await client.responses.create(**request)
                            async for _ in stream:
                                pass
                        except openai.APIError as error:
                            told.append(str(error))
                    content = json.dumps({"model": "echo", "input": secret})[:-2]
                    async with httpx2.AsyncClient() as http:
                        headers = {"authorization": f"Bearer {shown}", "content-type": "application/json"}
                        url = f"{gateway.base_url}/responses?api-key={key}"
                        told.append((await http.post(url, headers=headers, content=content)).text)
            metrics = gateway.gateway.measures.text().decode()
    assert len(told) >= 8
    keys = (*KEYS.values(), key, str(emulator.api_key))
    for where in (caplog.text, metrics, repr(gateway.gateway.callers), repr(gateway.gateway.configuration)):
        assert not [each for each in (secret, *keys) if each in where]
    # The service repeats in its own errors what the caller sent. The gateway adds no key.
    assert not [each for each in keys if each in "".join(told)]
