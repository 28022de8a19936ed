from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import openai
import pytest
import uvicorn

import trunkline
from trunkline.emulator import Emulator, assert_context
from trunkline.gateway import streamed

from ..peer import Server
from ..waiting import soon, until
from .running import KEYS, Running, running, with_tenants


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_the_base_url_alone_brings_deltas(emulator: Emulator, is_streamed: bool) -> None:
    async with running(emulator) as gateway, gateway.openai() as client:
        items: list[Any] = []
        modes = []
        for number in range(4):
            items.append(user(f"turn {number}"))
            if is_streamed:
                raw = await client.responses.with_raw_response.create(model="echo", input=items, stream=True)
                events = [event async for event in raw.parse()]
                response = events[-1].response  # type: ignore[union-attr]
                assert "".join(e.delta for e in events if e.type == "response.output_text.delta")
            else:
                whole = await client.responses.with_raw_response.create(model="echo", input=items)
                raw, response = whole, whole.parse()  # type: ignore[assignment]
            assert raw.headers["x-trunkline-gateway"] == "1"
            modes.append(raw.headers["x-trunkline-mode"])
            assert response.output_text == f"turn {number}"
            assert_context(emulator.effective_context(response.id), items)
            items += [item.model_dump(exclude_none=True) for item in response.output]
        assert modes == ["full", "delta", "delta", "delta"]
        assert {request.transport for request in emulator.requests} == {"websocket"}


async def test_callers_share_sockets(emulator: Emulator) -> None:
    async def turn(number: int) -> str:
        async with gateway.openai() as client:
            return (await client.responses.create(model="echo", input=f"caller {number}")).output_text

    async with running(emulator) as gateway:
        await turn(0)
        said = await asyncio.gather(*(turn(number) for number in range(1, 13)))
        assert said == [f"caller {number}" for number in range(1, 13)]
        assert len({request.connection_id for request in emulator.requests}) == 1


async def test_a_caller_without_websocket_upstream_is_answered_over_http() -> None:
    async with (
        Emulator(quirks=["ollama"]) as emulator,
        running(emulator) as gateway,
        gateway.openai() as client,
    ):
        response = await client.responses.create(model="echo", input="hi")
        assert response.output_text == "hi"


async def test_the_words_of_the_service_arrive(emulator: Emulator) -> None:
    async with running(emulator) as gateway:
        async with gateway.openai() as client:
            with pytest.raises(openai.BadRequestError, match="temperature"):
                await client.responses.create(model="echo", input="hi", temperature=9)
        async with gateway.openai("sk-wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.responses.create(model="echo", input="hi")


async def test_other_endpoints_are_passed_on_for_callers_with_their_own_key(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.openai() as client:
        made = await client.responses.create(model="echo", input="hi")
        found = await client.responses.retrieve(made.id)
        assert found.output_text == "hi"
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"host": "evil.example"}, 421, "listen.hosts"),
        ({"origin": "https://evil.example"}, 403, "listen.origins"),
        ({"content-type": "text/plain"}, 415, "application/json"),
        ({"content-encoding": "lzma"}, 415, "gzip"),
    ],
)
async def test_a_web_page_cannot_spend_a_key(
    emulator: Emulator, headers: dict[str, str], status: int, words: str
) -> None:
    async with running(emulator) as gateway, httpx2.AsyncClient() as http:
        headers = {
            "authorization": f"Bearer {gateway.api_key}",
            "content-type": "application/json",
            **headers,
        }
        body = b'{"model":"echo","input":"hi"}'
        answer = await http.post(f"{gateway.base_url}/responses", headers=headers, content=body)
        assert answer.status_code == status
        assert words in answer.json()["error"]["message"]
        assert not emulator.requests


@pytest.mark.parametrize(
    "body",
    [b'{"model":"echo","input":"a","input":"b"}', b"[]", b"{", b'{"input":[{"a":1,"a":2}],"model":"echo"}'],
)
async def test_a_body_that_can_be_read_in_two_ways_is_refused(emulator: Emulator, body: bytes) -> None:
    async with running(emulator) as gateway, httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {gateway.api_key}", "content-type": "application/json"}
        answer = await http.post(f"{gateway.base_url}/responses", headers=headers, content=body)
        assert answer.status_code == 400
        assert not emulator.requests


async def test_a_caller_that_leaves_ends_its_answer(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.openai() as client:
        stream = await client.responses.create(model="words-100000", input="go", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        await until(lambda: gateway.gateway.life.running == 0, "the answer is left")
        assert b"trunkline_callers_left_total 1.0" in gateway.gateway.measures.text()


async def test_a_caller_that_does_not_read_loses_its_answer_alone(emulator: Emulator) -> None:
    emulator.expect("much").says(f"{'x' * 100_000} " * 160)
    async with running(emulator, bounds={"unread_bytes": 100_000}) as gateway, gateway.openai() as client:
        reader, writer = await asking_for_much(gateway)
        await until(lambda: statuses(emulator) == ["completed"], "the answer was sent", within_s=60)
        assert (await client.responses.create(model="echo", input="hi")).output_text == "hi"
        answer = await soon(reader.read(), within_s=60)
        writer.close()
    *_, last = answer.split(b"event: ")
    assert last.startswith(b"error\n")
    event = msgspec.json.decode(last.partition(b"data: ")[2].partition(b"\n")[0])
    assert (event["type"], event["code"]) == ("error", "slow_consumer")
    assert 100_000 < int(event["message"].partition(" ")[0].replace(",", "")) < 1_000_000
    assert b"response.completed" not in answer


async def asking_for_much(gateway: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request for a long stream of which nothing is read beyond a small buffer."""
    host, port = gateway.served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**16)
    body = b'{"model":"echo","input":"much","stream":true}'
    writer.write(
        b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (gateway.api_key.encode(), len(body), body)
    )
    return reader, writer


async def test_a_caller_that_reads_nothing_gives_its_turn_back(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "BEAT_S", 0.02)
    emulator.expect("much").says(f"{'x' * 100_000} " * 160)
    bounds = {"unread_bytes": 2**30, "unread_s": 0.1}
    async with with_tenants(emulator, {"turns_in_flight": 1}, bounds=bounds) as gateway:
        _, writer = await asking_for_much(gateway)
        await until(lambda: statuses(emulator) == ["completed"], "the answer was sent", within_s=60)
        await until(lambda: gateway.gateway.life.running == 0, "its turn has ended")
        async with gateway.openai() as client:
            assert (await client.responses.create(model="echo", input="hi")).output_text == "hi"
        writer.close()


def statuses(emulator: Emulator) -> list[str]:
    return [str(record.status) for record in emulator.responses.values()]


# Tenants.


async def test_a_tenant_needs_its_key(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway:
        async with gateway.openai(emulator.api_key) as client:
            with pytest.raises(openai.AuthenticationError, match="not known to this gateway"):
                await client.responses.create(model="echo", input="hi")
        async with gateway.openai() as client:
            assert (await client.responses.create(model="echo", input="hi")).output_text == "hi"
        assert [request.body["store"] for request in emulator.requests if request.body] == [False]


async def test_tenants_share_neither_sockets_nor_responses(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway:
        ids = {}
        for name, key in KEYS.items():
            async with gateway.openai(key) as client:
                ids[name] = (await client.responses.create(model="echo", input="same words")).id
        assert len({request.connection_id for request in emulator.requests}) == 2
        async with gateway.openai(KEYS["batch"]) as client:
            with pytest.raises(openai.BadRequestError, match="not found"):
                await client.responses.create(model="echo", input="hi", previous_response_id=ids["voice"])
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(ids["voice"])
            again = await client.responses.create(
                model="echo", input="and on", previous_response_id=ids["batch"]
            )
            said = [user("same words"), {"type": "message", "role": "assistant", "content": "same words"}]
            assert_context(emulator.effective_context(again.id), [*said, user("and on")])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "container"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "file_id"),
    ],
)
async def test_a_tenant_names_nothing_of_the_shared_key(
    emulator: Emulator, fields: dict[str, Any], words: str
) -> None:
    async with with_tenants(emulator) as gateway, gateway.openai() as client:
        with pytest.raises(openai.BadRequestError, match=words):
            await client.responses.create(**{"model": "echo", "input": "hi", **fields})
        with pytest.raises(openai.NotFoundError, match="is not served for this key"):
            await client.models.list()
        assert not emulator.requests


async def test_the_limits_of_a_tenant(emulator: Emulator) -> None:
    voice = {"turns_per_minute": 2, "models": ["echo", "words-*"]}
    async with with_tenants(emulator, voice) as gateway, gateway.openai() as client:
        with pytest.raises(openai.PermissionDeniedError, match="may use echo"):
            await client.responses.create(model="tools", input="hi")
        await client.responses.create(model="words-3", input="hi")
        with pytest.raises(openai.RateLimitError) as refused:
            await client.responses.create(model="echo", input="hi")
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        async with gateway.openai(KEYS["batch"]) as other:
            await other.responses.create(model="echo", input="hi")


# The end.


async def test_a_drain_gives_notice_and_lets_answers_end(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event_type="response.completed")
    async with (
        running(emulator, drain={"notice_s": 3600, "within_s": 3600}) as gateway,
        gateway.openai() as client,
        httpx2.AsyncClient() as http,
    ):
        life, url = gateway.gateway.life, gateway.served.url
        answer = asyncio.create_task(client.responses.create(model="echo", input="long"))
        await until(lambda: life.running == 1, "the answer runs")
        assert (await http.get(f"{url}/readyz")).status_code == 200
        drain = asyncio.create_task(gateway.gateway.drain())
        await until(lambda: not life.is_ready, "notice is given")
        assert (await http.get(f"{url}/readyz")).status_code == 503
        assert (await http.get(f"{url}/healthz")).status_code == 200
        assert (await client.responses.create(model="echo", input="late")).output_text == "late"
        gate.open()
        assert (await soon(answer)).output_text == "long"
        life.cut()
        await soon(drain)
        with pytest.raises(openai.InternalServerError, match="shutting down"):
            await client.responses.create(model="echo", input="too late")


STREAM = b"content-type: text/event-stream\r\n"
BYTES = b"content-type: application/octet-stream\r\n"


@pytest.mark.parametrize(
    ("method", "head", "body", "status", "end"),
    [
        ("GET", None, b"", 503, b'"code":"gateway_shutting_down"'),
        ("POST", None, b"", 504, b'"code":"gateway_shutting_down"'),
        ("POST", STREAM, b"data: {}\n\n", 200, b'"headers":{"x-should-retry":"false"}}}\n\n'),
        ("POST", STREAM, b"data: {", 200, None),
        ("GET", BYTES, b"some", 200, None),
    ],
)
async def test_what_is_passed_on_ends_with_the_drain(
    emulator: Emulator,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    method: str,
    head: bytes | None,
    body: bytes,
    status: int,
    end: bytes | None,
) -> None:
    upstream = {"openai": {"base_url": f"http://127.0.0.1:{server.port}/v1"}}
    async with (
        running(emulator, upstream=upstream, drain={"notice_s": 0, "within_s": 3600}) as found,
        httpx2.AsyncClient(timeout=60) as http,
    ):
        gateway = found.gateway
        received, is_whole = b"", True
        headers = {"authorization": "Bearer sk-caller"}

        async def ask() -> httpx2.Response:
            nonlocal received, is_whole
            url = f"{found.base_url}/chat/completions"
            async with http.stream(method, url, headers=headers) as answer:
                try:
                    async for chunk in answer.aiter_raw():
                        received += chunk
                except httpx2.RemoteProtocolError:
                    is_whole = False
            return answer

        asking = asyncio.create_task(ask())
        peer = await soon(server.next_peer(), 30)
        if head is not None:
            peer.write(
                b"HTTP/1.1 200 OK\r\n" + head + b"content-length: 1000\r\n\r\n" + body,
            )
            await until(lambda: received == body, "the beginning has arrived")
        drain = asyncio.create_task(gateway.drain())
        await until(lambda: not gateway.life.takes_work, "it drains")
        gateway.life.cut()
        answer = await soon(asking)
        await soon(drain)
    assert answer.status_code == status
    assert is_whole == (end is not None)
    assert received.startswith(body)
    assert (end or b"") in received
    if status == 503:
        assert answer.headers["retry-after"] == "1"
    assert answer.headers.get("x-should-retry") == ("false" if status == 504 else None)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_our_client_speaks_lanes_to_the_gateway(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.client() as client:
        chats = [client.conversation(model="echo") for _ in range(8)]
        for number in range(3):
            for chat, response in zip(
                chats, await asyncio.gather(*(_say(chat, number) for chat in chats)), strict=True
            ):
                assert_context(emulator.effective_context(response.id), chat.items[:-1])
        assert client.state().sockets == 1


async def _say(chat: trunkline.Conversation, number: int) -> trunkline.Response:
    async with chat.send(f"turn {number}") as stream:
        return await stream.finish()


MCP = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example/mcp"}


async def test_the_conversations_of_two_clients_stay_apart_behind_a_server_that_repeats_ids() -> None:
    async with (
        Emulator(quirks=["xai"]) as emulator,
        running(emulator, upstream={"openai": {"base_url": emulator.base_url, "lanes": False}}) as gateway,
        gateway.client() as one,
        gateway.client() as other,
    ):
        chats = {name: client.conversation(model="echo") for name, client in {"a": one, "b": other}.items()}
        for number in range(3):
            for name, chat in chats.items():
                held = [*chat.items, user(f"{name} {number}")]
                async with chat.send(f"{name} {number}") as stream:
                    await stream.finish()
                assert_context(list(emulator.responses.values())[-1].effective_context, held)
        assert len({record.wire_id for record in emulator.responses.values()}) == 1


async def test_a_request_that_may_act_has_its_head_before_it_is_sent(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=1)
    async with running(emulator) as gateway, httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {gateway.api_key}"}
        body = {"model": "echo", "input": "hi", "stream": True, "tools": [MCP]}
        async with http.stream("POST", f"{gateway.base_url}/responses", headers=headers, json=body) as answer:
            assert answer.status_code == 200  # while nothing has come from the service
            gate.open()
            text = "".join([chunk async for chunk in answer.aiter_text()])
        assert text.endswith("\n\n")
        assert "event: response.completed" in text


async def test_the_refusal_of_a_request_that_may_act_is_an_event(emulator: Emulator) -> None:
    async with running(emulator) as gateway, httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {gateway.api_key}"}
        body = {"model": "echo", "input": "hi", "stream": True, "tools": [MCP], "temperature": 9}
        answer = await http.post(f"{gateway.base_url}/responses", headers=headers, json=body)
        assert answer.status_code == 200
        assert answer.text.startswith("event: error\ndata: ")
        assert "temperature" in answer.text


async def test_another_configuration_revokes_keys_and_keeps_the_rest(emulator: Emulator) -> None:
    async with (
        with_tenants(emulator) as gateway,
        gateway.openai(KEYS["voice"]) as voice,
        gateway.openai(KEYS["batch"]) as batch,
        gateway.client(KEYS["batch"]) as revoked,
    ):
        first = await voice.responses.create(model="echo", input="one")
        await batch.responses.create(model="echo", input="one")
        async with revoked.conversation(model="echo").send("one") as stream:
            await stream.finish()
        before = gateway.gateway.configuration
        tenants = {name: tenant for name, tenant in before.tenants.items() if name == "voice"}
        await gateway.gateway.reconfigure(msgspec.structs.replace(before, tenants=tenants))

        await until(lambda: revoked.state().sockets == 0, "its socket is closed")
        with pytest.raises(openai.AuthenticationError):
            await batch.responses.create(model="echo", input="two")
        again = await voice.responses.create(model="echo", input="two", previous_response_id=first.id)
        assert again.output_text == "two"
        assert b'trunkline_turns_total{mode="delta",outcome="answered",tenant="voice"' in (
            gateway.gateway.measures.text()
        )


async def test_it_is_plain_asgi(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f'[upstream.openai]\nbase_url = "{emulator.base_url}"\n[drain]\nnotice_s = 0\n')
    monkeypatch.setenv("TRUNKLINE_CONFIG", str(path))
    config = uvicorn.Config("trunkline.gateway:app", port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started, "it listens")
        port = listening.getsockname()[1]
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key=emulator.api_key
        ) as client:
            assert (await client.responses.create(model="echo", input="hi")).output_text == "hi"
        server.should_exit = True
        await soon(serving)
