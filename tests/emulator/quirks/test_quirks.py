"""The deviations of other servers, frame by frame."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from trunkline.emulator import Emulator
from trunkline.emulator.quirks import PROXY_LIMIT_BYTES

from ..wire import Event, Socket, Wire, text_of, wired


@asynccontextmanager
async def server(*quirks: str, **options: Any) -> AsyncIterator[Wire]:
    async with Emulator(quirks=quirks, **options) as emulator, wired(emulator) as wire:
        yield wire


@asynccontextmanager
async def connected(*quirks: str, **options: Any) -> AsyncIterator[Socket]:
    """One socket; its events need not match the openai package's types."""
    async with server(*quirks, **options) as wire, wire.socket(strict=False) as socket:
        yield socket


async def closed_with(socket: Socket) -> int:
    message = await socket.raw.receive(timeout=30)
    assert message.type is aiohttp.WSMsgType.CLOSE
    code: int = message.data
    return code


async def test_vllm_refuses_a_steer_without_a_lane() -> None:
    async with connected("vllm") as socket:
        await socket.create(input="x", stream_id="a")
        created = (await socket.until("response.completed"))[0]["response"]["id"]
        await socket.send(type="response.steer", previous_response_id=created, input="stop")
        error = await socket.receive()
        assert (error["type"], error["status"]) == ("error", 400)
        assert "stream_id" not in error
        assert error["error"]["code"] is None


async def test_vllm_refuses_the_seventeenth_request_in_flight() -> None:
    async with server("vllm") as wire, wire.socket() as socket:
        gate = wire.emulator.faults.hold(event_type="response.created", times=None)
        for number in range(17):
            await socket.create(input="x", stream_id=f"lane-{number}")
        refused = await socket.receive()
        assert (refused["stream_id"], refused["status"]) == ("lane-16", 429)
        gate.open()
        for _ in range(16):
            await socket.until("response.completed")
        await socket.response(input="x", stream_id="lane-16")


@pytest.mark.parametrize("name", ["litellm", "xai", "azure"])
async def test_servers_without_lanes_ignore_the_name_of_a_lane(name: str) -> None:
    async with connected(name) as socket:
        await socket.create(input="x", stream_id="a")
        await socket.create(input="x", stream_id="no name of a lane!")
        for _ in range(2):
            assert not any("stream_id" in event for event in await socket.until("response.completed"))


async def test_litellm_binds_a_socket_to_its_first_model() -> None:
    async with connected("litellm") as socket:
        assert (await socket.response(model="words-2", input="x"))["model"] == "words-2"
        second = await socket.response(model="echo", input="x")
        assert (second["model"], text_of(second)) == ("words-2", "the quick")


async def test_litellm_binds_a_socket_to_the_model_of_its_url() -> None:
    async with (
        server("litellm") as wire,
        wire.session.ws_connect(f"{wire.emulator.base_url}/responses?model=words-2") as raw,
    ):
        assert (await Socket(raw).response(model="echo", input="x"))["model"] == "words-2"


@pytest.mark.parametrize("first", ['{"type": "response.steer"}', "[]", "no JSON", "{}"])
async def test_litellm_closes_a_socket_whose_first_frame_is_no_create(first: str) -> None:
    async with connected("litellm") as socket:
        await socket.raw.send_str(first)
        assert await closed_with(socket) == 1008


async def test_litellm_ignores_other_frames_after_a_create() -> None:
    async with connected("litellm") as socket:
        created = await socket.response(input="x")
        await socket.send(type="response.steer", previous_response_id=created["id"], input="stop")
        await socket.raw.send_str("no JSON")
        await socket.create(input="y")
        assert (await socket.receive())["type"] == "response.created"


async def test_litellm_closes_a_socket_with_1011_for_an_unknown_model() -> None:
    async with server("litellm") as wire:
        for name in ("gpt-6-astra", "words-3", "mine"):
            wire.emulator.add_model("mine", lambda prompt: ())
            async with wire.socket() as socket:
                await socket.response(model=name, input="x")
        async with wire.socket() as socket:
            await socket.create(model="nobody-knows-it", input="x")
            assert await closed_with(socket) == 1011
        status, _ = await wire.post(model="nobody-knows-it", input="x")
        assert status == 400


async def test_litellm_makes_up_warm_ups_and_refuses_without_code_and_status() -> None:
    async with connected("litellm") as socket:
        warm = await socket.response(input="x", generate=False)
        await socket.create(input="y", previous_response_id=warm["id"])
        error = await socket.receive()
        assert "status" not in error
        assert error["error"]["code"] is None
        assert "not found" in error["error"]["message"]


async def test_xai_gives_all_responses_of_a_connection_one_id() -> None:
    async with server("xai") as wire:
        ids = []
        for _ in range(2):
            async with wire.socket() as socket:
                first = await socket.response(input="one")
                second = await socket.response(input="two", previous_response_id=first["id"])
                assert first["id"] == second["id"]
                ids.append(first["id"])
        assert ids[0] != ids[1]
        *_, record = wire.emulator.responses.values()
        assert len(wire.emulator.responses) == 4
        assert len(record.effective_context) == 3


async def test_xai_refuses_instructions_with_a_parent_in_a_frame_without_type() -> None:
    async with connected("xai") as socket:
        first = await socket.response(input="one", instructions="Be brief.")
        await socket.create(input="two", instructions="Be brief.", previous_response_id=first["id"])
        refusal: Event = json.loads((await socket.raw.receive(timeout=30)).data)
        assert list(refusal) == ["error"]
        assert refusal["error"]["message"].endswith("instructions and previous_response_id together")
        assert (await socket.response(input="two", previous_response_id=first["id"]))["status"] == "completed"


async def test_xai_refuses_parents_that_are_not_stored_in_words_of_its_own() -> None:
    async with connected("xai") as socket:
        first = await socket.response(input="one", store=False)
        refusal = await socket.refused(input="two", store=False, previous_response_id=first["id"])
        assert refusal["code"] is None
        assert refusal["message"] == f"Response with id={first['id']} could not be found."


async def test_azure_sends_the_reason_of_a_failure_after_it() -> None:
    async with server("azure") as wire:
        async with wire.socket(strict=False) as socket:
            await socket.create(model="fail-rate_limit_exceeded", input="x")
            events = await socket.until("error")
        url = f"{wire.emulator.base_url}/responses"
        body = {"model": "fail-rate_limit_exceeded", "input": "x", "stream": True}
        async with wire.session.post(url, json=body) as answer:
            lines = [line for line in (await answer.text()).splitlines() if line.startswith("data: ")]
        for failed, reason in (events[-2:], [json.loads(line[6:]) for line in lines[-2:]]):
            assert failed["type"] == "response.failed"
            assert failed["response"]["error"] is None
            assert (reason["type"], reason["error"]["code"]) == ("error", "rate_limit_exceeded")
            assert reason["sequence_number"] == failed["sequence_number"] + 1


async def test_azure_names_waits_in_milliseconds() -> None:
    async with server("azure") as wire:
        for transport in ("http", "websocket"):
            limit = {"status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "1.5"}}
            wire.emulator.faults.add("reject", transport=transport, **limit)
        async with wire.session.post(f"{wire.emulator.base_url}/responses", json={"model": "echo"}) as answer:
            assert answer.status == 429
            assert answer.headers["retry-after-ms"] == "1500"
            assert "retry-after" not in answer.headers
        async with wire.socket(strict=False) as socket:
            await socket.create(input="x")
            assert (await socket.receive())["error"]["headers"] == {"retry-after-ms": "1500"}


async def test_azure_takes_any_name_of_a_deployment() -> None:
    async with connected("azure") as socket:
        assert (await socket.response(model="my deployment", input="x"))["model"] == "my deployment"


async def test_ollama_has_no_socket_and_ignores_parents() -> None:
    async with server("ollama") as wire:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await wire.session.ws_connect(f"{wire.emulator.base_url}/responses")
        assert refusal.value.status == 404
        _, first = await wire.post(input="one")
        status, second = await wire.post(input="two", previous_response_id=first["id"])
        assert (status, second["previous_response_id"]) == (200, None)
        record = wire.emulator.responses[second["id"]]
        assert len(record.effective_context) == 1
        status, _ = await wire.post(input="two", previous_response_id="resp_of_another_server")
        assert status == 200


async def test_codex_renames_codes_and_moves_status_and_headers() -> None:
    async with server("codex") as wire:
        async with wire.socket(strict=False) as socket:
            await socket.create(input="x", previous_response_id="resp_x")
            stale = await socket.receive()
            assert (stale["status_code"], "status" in stale) == (400, False)
            assert stale["error"]["code"] == "codex_previous_response_stale"
            limits = {"x-ratelimit-remaining-requests": "0"}
            wire.emulator.faults.add("fail", status=502, code="server_error", headers=limits)
            await socket.create(input="x")
            (failed,) = await socket.until("error")
            assert (failed["status_code"], failed["headers"]) == (502, limits)
            assert failed["error"]["code"] == "stream_incomplete"
            assert "headers" not in failed["error"]
        _, body = await wire.post(input="x", previous_response_id="resp_x")
        assert body["error"]["code"] == "codex_previous_response_stale"


@pytest.mark.parametrize(("name", "code"), [("litellm", None), ("codex", "stream_incomplete")])
async def test_the_shape_of_errors_holds_for_faults_with_flat_errors(name: str, code: str | None) -> None:
    async with server(name) as wire, wire.socket(strict=False) as socket:
        wire.emulator.faults.add("fail", code="server_error")
        wire.emulator.faults.add("flat_error")
        await socket.create(input="x")
        (error,) = await socket.until("error")
        assert error["error"]["code"] == code
        assert "code" not in error


async def test_a_proxy_closes_sockets_or_keeps_silent_and_carries_http() -> None:
    async with server("proxy") as wire:
        codes = []
        for _ in range(4):
            async with wire.socket() as socket:
                codes.append(await closed_with(socket))
        assert codes == [1000, 1008, 1011, 1013]
        async with wire.socket() as socket:
            await socket.create(input="x")
            await socket.create(input="x" * PROXY_LIMIT_BYTES)
            assert await closed_with(socket) == 1009  # and no event of a response before it
        async with wire.socket() as socket:
            assert await closed_with(socket) == 1000
        status, _ = await wire.post(input="x")
        assert status == 200
        assert len(wire.emulator.responses) == 1


async def test_a_proxy_with_a_limit_closes_a_socket_with_1009_at_a_larger_message() -> None:
    async with connected("proxy-limit") as socket:
        await socket.response(input="x")
        await socket.create(input="x" * PROXY_LIMIT_BYTES)
        assert await closed_with(socket) == 1009


async def test_deviations_of_several_servers_add_up() -> None:
    async with connected("azure", "codex", api_key=None) as socket:
        await socket.create(model="fail-server_error", input="x", stream_id="a")
        *_, failed, reason = await socket.until("error")
        assert failed["response"]["error"] is None
        assert reason["error"]["code"] == "stream_incomplete"
        assert "stream_id" not in reason
