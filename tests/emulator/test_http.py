"""The HTTP endpoints other than creating and streaming."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from trunkline.emulator import Emulator
from trunkline.emulator._wire import server as server_module

from .wire import TIMEOUT_S, WEATHER, Socket, Wire, text_of, wired


async def test_a_stored_response_can_be_read_and_deleted(wire: Wire) -> None:
    _, made = await wire.post(input="hello")
    status, read = await wire.call("GET", f"/responses/{made['id']}")
    assert (status, read) == (200, made)
    status, gone = await wire.call("DELETE", f"/responses/{made['id']}")
    assert (status, gone) == (200, {"id": made["id"], "object": "response", "deleted": True})
    for method in ("GET", "DELETE"):
        status, body = await wire.call(method, f"/responses/{made['id']}")
        assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    status, body = await wire.post(input="x", previous_response_id=made["id"])
    assert body["error"]["code"] == "previous_response_not_found"


async def test_what_is_not_stored_cannot_be_read(wire: Wire, socket: Socket) -> None:
    made = await socket.response(input="hello", store=False)
    assert (await wire.call("GET", f"/responses/{made['id']}"))[0] == 404
    kept = await socket.response(input="hello")
    assert (await wire.call("GET", f"/responses/{kept['id']}"))[1] == kept


async def test_input_items_come_in_pages(wire: Wire) -> None:
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    _, made = await wire.post(input=items)
    path = f"/responses/{made['id']}/input_items"
    _, page = await wire.call("GET", f"{path}?limit=2")
    assert [item["content"][0]["text"] for item in page["data"]] == ["4", "3"]
    assert page["has_more"] is True
    _, rest = await wire.call("GET", f"{path}?limit=10&after={page['last_id']}")
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "1", "0"]
    assert (rest["has_more"], rest["first_id"]) == (False, rest["data"][0]["id"])
    _, ascending = await wire.call("GET", f"{path}?order=asc")
    assert [item["content"][0]["text"] for item in ascending["data"]] == list("01234")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=nothing"])
async def test_bad_pages_are_refused(wire: Wire, query: str) -> None:
    _, made = await wire.post(input="x")
    status, _ = await wire.call("GET", f"/responses/{made['id']}/input_items?{query}")
    assert status in (400, 404)


async def test_a_listed_item_can_be_referred_to(wire: Wire) -> None:
    _, made = await wire.post(input="hello")
    _, page = await wire.call("GET", f"/responses/{made['id']}/input_items")
    reference = {"type": "item_reference", "id": page["data"][0]["id"]}
    _, response = await wire.post(input=[reference])
    assert text_of(response) == "hello"


async def test_a_background_response_can_be_cancelled() -> None:
    async with Emulator(tokens_per_second=1) as emulator, wired(emulator) as wire:
        _, made = await wire.post(model="words-100", input="x", background=True)
        assert made["status"] == "queued"
        _, cancelled = await wire.call("POST", f"/responses/{made['id']}/cancel")
        assert cancelled["status"] == "cancelled"
        _, read = await wire.call("GET", f"/responses/{made['id']}")
        assert read["status"] == "cancelled"
        _, body = await wire.post(input="x", previous_response_id=made["id"])
        assert body["error"]["code"] == "previous_response_not_found"


async def test_only_background_responses_can_be_cancelled(wire: Wire) -> None:
    _, made = await wire.post(input="x")
    status, body = await wire.call("POST", f"/responses/{made['id']}/cancel")
    assert (status, body["error"]["message"]) == (400, "Cannot cancel a synchronous response.")
    assert (await wire.call("POST", "/responses/resp_x/cancel"))[0] == 404


async def test_background_needs_the_store(wire: Wire) -> None:
    status, body = await wire.post(input="x", background=True, store=False)
    assert (status, body["error"]["param"]) == (400, "store")


async def test_compaction_needs_a_model_and_nothing_unknown(wire: Wire) -> None:
    status, body = await wire.call("POST", "/responses/compact", json={"input": "x"})
    assert (status, body["error"]["code"]) == (400, "missing_required_parameter")
    status, body = await wire.call("POST", "/responses/compact", json={"model": "x", "tools": []})
    assert (status, body["error"]["code"]) == (400, "unknown_parameter")


async def test_compaction_of_a_chain_keeps_its_user_messages(wire: Wire, emulator: Emulator) -> None:
    _, first = await wire.post(input="one")
    _, second = await wire.post(input="two", previous_response_id=first["id"])
    body = {"model": "echo", "previous_response_id": second["id"]}
    status, compacted = await wire.call("POST", "/responses/compact", json=body)
    assert status == 200
    assert compacted["object"] == "response.compaction"
    kinds = [item["type"] for item in compacted["output"]]
    assert kinds == ["message", "message", "compaction"]
    window = [*compacted["output"], {"role": "user", "content": "three"}]
    _, third = await wire.post(input=window)
    assert emulator.effective_context(third["id"]) == window


async def test_headers_tell_of_limits(wire: Wire) -> None:
    async with wire.session.get(
        f"{wire.emulator.base_url}/models", headers={"OpenAI-Organization": "org-1"}
    ) as got:
        assert got.headers["x-ratelimit-limit-requests"] == "10000"
        assert int(got.headers["x-ratelimit-remaining-tokens"]) > 0
        assert got.headers["openai-organization"] == "org-1"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with wire.session.get(f"{wire.emulator.base_url}/responses", headers=upgrade) as opened:
        assert opened.status == 101
        assert opened.headers["x-request-id"].startswith("req_")
        opened.close()


async def test_bodies_that_are_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_MESSAGE_BYTES", 10_000)
    async with Emulator() as emulator, wired(emulator) as wire:
        status, body = await wire.post(input="x" * 20_000)
        assert (status, body["error"]["code"]) == (413, "request_too_large")
        async with wire.socket() as socket:
            await socket.create(input="x" * 20_000)
            message = await asyncio.wait_for(socket.raw.receive(), TIMEOUT_S)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == 1009
        status, _ = await wire.post(input="x")
        assert status == 200


async def test_large_requests_are_read(wire: Wire, socket: Socket) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 20_000_000}
    response = await socket.response(model="words-1", input=[{"role": "user", "content": [image]}])
    assert wire.emulator.responses[response["id"]].request_bytes > 20_000_000
    assert response["usage"]["input_tokens"] < 1000


async def test_a_client_that_leaves_a_stream_stops_its_response() -> None:
    async with Emulator(tokens_per_second=1) as emulator, wired(emulator) as wire:
        url = f"{emulator.base_url}/responses"
        body = {"model": "words-100", "input": "x", "stream": True}
        async with wire.session.post(url, json=body) as answer:
            await answer.content.readline()
            answer.close()
        (record,) = emulator.responses.values()
        async with asyncio.timeout(TIMEOUT_S):
            while record.status == "in_progress":
                await asyncio.sleep(0.001)
        assert record.status == "cancelled"


async def test_usage_counts_what_the_lane_has_cached(socket: Socket) -> None:
    long = "words " * 2000
    first = await socket.response(model="words-5", input=long, stream_id="a", tools=[WEATHER])
    assert first["usage"]["input_tokens_details"]["cached_tokens"] == 0
    again = {"input": "more", "previous_response_id": first["id"], "model": "words-5"}
    second = await socket.response(stream_id="a", tools=[WEATHER], **again)
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert 0.9 * first["usage"]["input_tokens"] < cached <= second["usage"]["input_tokens"]
    assert cached % 128 == 0
    elsewhere = await socket.response(stream_id="b", tools=[WEATHER], **again)
    assert elsewhere["usage"]["input_tokens_details"]["cached_tokens"] == 0
    other_tools = await socket.response(stream_id="a", **again)
    assert other_tools["usage"]["input_tokens_details"]["cached_tokens"] == 0


async def test_usage_counts_a_cached_prefix_of_a_full_context(socket: Socket) -> None:
    history = [{"role": "user", "content": "words " * 1000}, {"role": "assistant", "content": "so " * 1000}]
    await socket.response(input=history)
    full = await socket.response(input=[*history, {"role": "user", "content": "more"}])
    assert full["usage"]["input_tokens_details"]["cached_tokens"] > 2000
    edited = [history[0], {"role": "assistant", "content": "no " * 1000}]
    changed = await socket.response(input=edited)
    cached = changed["usage"]["input_tokens_details"]["cached_tokens"]
    assert 1024 <= cached < full["usage"]["input_tokens_details"]["cached_tokens"]
