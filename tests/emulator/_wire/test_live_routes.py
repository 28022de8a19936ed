"""The live page and its data, over HTTP. `tests/system` looks at the page in a browser."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from trunkline.emulator import Emulator
from trunkline.emulator._wire.live_state import MAX_REQUESTS

from ..wire import WEATHER, Event, Wire, calls_of, output, wired


async def state(wire: Wire, after: int = 0) -> Event:
    return await read(wire, f"/live?after={after}")


async def read(wire: Wire, path: str, status: int = 200) -> Event:
    url = wire.emulator.base_url.removesuffix("/v1") + path
    async with wire.session.get(url) as answer:
        assert answer.status == status
        found: Event = await answer.json()
        return found


async def test_the_page_needs_no_key_and_allows_itself_nothing_but_its_data(emulator: Emulator) -> None:
    async with aiohttp.ClientSession() as session:
        pages = []
        for _ in range(2):
            async with session.get(emulator.live_url) as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
                policy = dict(
                    part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
                )
                pages.append(await answer.text())
            nonce = policy["script-src"]
            assert policy["default-src"] == "'none'"
            assert policy["connect-src"] == "'self'"
            assert policy["style-src"] == nonce
            assert re.fullmatch(r"'nonce-[\w-]{20,}'", nonce)
            assert pages[-1].count(nonce[7:-1]) == 2
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Frame-Options"] == "DENY"
        assert pages[0] != pages[1]
        for page in pages:
            assert "innerHTML" not in page
            assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)
        assert emulator.requests == []


@pytest.mark.parametrize("path", ["/live", "/live/responses/resp_x"])
async def test_its_data_needs_the_key(emulator: Emulator, path: str) -> None:
    url = emulator.base_url.removesuffix("/v1") + path
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("key", ["sk-&#?", None])
async def test_its_url_has_the_key_in_the_fragment(key: str | None) -> None:
    async with Emulator(api_key=key) as emulator:
        parts = urlsplit(emulator.live_url)
        assert (parts.path, parts.query) == ("/", "")
        assert parse_qs(parts.fragment) == {"key": [key or "any"]}


async def test_requests_are_shown_once_in_order(wire: Wire) -> None:
    async with wire.socket() as socket:
        first = await socket.response(input="the words", stream_id="a")
        await socket.response(input="two", stream_id="a", previous_response_id=first["id"])
        await socket.refused(model="refuse-429-too_many", input="x", stream_id="b")
        await wire.post(input=[{"role": "user", "content": "three"}])
        seen = await state(wire)
        kinds = [
            (each["number"], each["transport"], each["lane"], each["status"]) for each in seen["requests"]
        ]
        assert kinds == [
            (1, "websocket", "a", "completed"),
            (2, "websocket", "a", "completed"),
            (3, "websocket", "b", None),
            (4, "http", None, "completed"),
        ]
        assert [each["context"] for each in seen["requests"]] == [1, 3, None, 1]
        assert [each["items"] for each in seen["requests"]] == [1, 1, 1, 1]
        assert seen["requests"][1]["parent"] == first["id"]
        assert seen["requests"][2]["error"]["code"] == "too_many"
        assert seen["last"] == 4
        assert "the words" not in str(seen)
        assert [each["number"] for each in (await state(wire, 3))["requests"]] == [4]
        assert (await state(wire, 4))["requests"] == []


async def test_lanes_are_shown_with_what_runs_and_waits(wire: Wire) -> None:
    assert (await state(wire))["sockets"] == []
    async with wire.socket() as one, wire.socket() as two:
        gate = wire.emulator.faults.hold(event=3, times=None)
        await one.create(input="x", stream_id="a")
        await one.create(input="y", stream_id="a")
        await two.create(input="z")
        await two.until("response.in_progress")
        await one.until("response.in_progress")
        first, second = (await state(wire))["sockets"]
        running = [*wire.emulator.responses]
        ids = {record.lane: record.id for record in wire.emulator.responses.values()}
        assert (first["number"], second["number"]) == (1, 2)
        assert first["lanes"] == [{"name": "a", "response": ids["a"], "busy": True, "waiting": 1}]
        assert second["lanes"] == [{"name": None, "response": ids[None], "busy": True, "waiting": 0}]
        assert len(running) == 2
        gate.open()
        await one.until("response.completed")
        await one.until("response.completed")
        assert (await state(wire))["sockets"][0]["lanes"][0]["busy"] is False


async def test_a_response_is_shown_with_its_effective_context(wire: Wire) -> None:
    async with wire.socket() as socket:
        body = {"tools": [WEATHER], "instructions": "Be brief.", "model": "mixed"}
        first = await socket.response(input="weather in Oslo", **body)
        items = [output(call) for call in calls_of(first)]
        second = await socket.response(input=items, previous_response_id=first["id"], **body)
    shown = await read(wire, f"/live/responses/{second['id']}")
    assert shown["context"] == wire.emulator.effective_context(second["id"])
    assert shown["output"] == second["output"]
    assert (shown["new"], shown["tools"], shown["instructions"]) == (1, ["get_weather"], "Be brief.")
    assert shown["removed"] == []
    assert shown["usage"] == second["usage"]
    await read(wire, "/live/responses/resp_x", status=404)


async def test_reasoning_that_was_removed_is_shown(wire: Wire) -> None:
    wire.emulator.add_model("gpt-6.2-astra", lambda prompt: [])
    wire.emulator.expect("one").reasons("Hm.").says("Yes.")
    _, first = await wire.post(model="gpt-6.2-astra", input="one")
    _, second = await wire.post(
        model="gpt-6.2-astra", input="two", tools=[WEATHER], previous_response_id=first["id"]
    )
    shown = await read(wire, f"/live/responses/{second['id']}")
    assert [each["reason"] for each in shown["removed"]] == ["prefix_mismatch"]


async def test_quirks_are_shown_and_the_number_of_requests_is_bounded() -> None:
    async with Emulator(quirks=["azure", "codex"]) as emulator, wired(emulator) as wire:
        for _ in range(MAX_REQUESTS + 5):
            await wire.call("GET", "/responses/resp_x")
        seen = await state(wire)
        assert seen["quirks"] == ["azure", "codex"]
        assert len(seen["requests"]) == MAX_REQUESTS
        assert seen["requests"][-1]["number"] == seen["last"] == MAX_REQUESTS + 5


async def test_a_number_that_is_none_is_refused(wire: Wire) -> None:
    await read(wire, "/live?after=x", status=400)
