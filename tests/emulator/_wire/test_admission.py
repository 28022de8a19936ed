"""Requests that are refused before they are read: their answers, records and log lines."""

from __future__ import annotations

import logging

import aiohttp
import pytest

from trunkline.emulator import Emulator, RequestRecord

from ..wire import Wire

KEY = "sk-of-the-caller"


@pytest.fixture
def told(emulator: Emulator) -> list[RequestRecord]:
    """The requests of which the observers were told."""
    told: list[RequestRecord] = []
    emulator.on_request.append(told.append)
    return told


@pytest.mark.parametrize(("header", "code"), [(None, None), (f"Bearer {KEY}", "invalid_api_key")])
async def test_a_refused_key_is_recorded_and_logged_without_the_key(
    emulator: Emulator,
    told: list[RequestRecord],
    header: str | None,
    code: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = {"Authorization": header} if header else {}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{emulator.base_url}/responses?api-key={KEY}", json={}) as answer:
            assert answer.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{emulator.base_url}/responses")
    assert [each.kind for each in told] == ["POST /v1/responses", "GET /v1/responses"]
    for request in told:
        assert request.error is not None
        assert (request.error["status"], request.error["code"]) == (401, code)
    assert told == emulator.requests
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert caplog.records[0].getMessage().startswith("refused POST /v1/responses with HTTP status 401: ")
    assert KEY not in caplog.text + repr(told)


async def test_an_unknown_url_is_answered_with_what_is_served(
    wire: Wire, told: list[RequestRecord], caplog: pytest.LogCaptureFixture
) -> None:
    status, body = await wire.call("POST", "/chat/completions", json={"model": "echo", "messages": []})
    assert status == 404
    assert body["error"]["message"] == (
        "Invalid URL (POST /v1/chat/completions); the emulator serves POST /v1/conversations,"
        " DELETE/GET/POST /v1/conversations/{id}, GET/POST /v1/conversations/{id}/items,"
        " DELETE/GET /v1/conversations/{id}/items/{item_id}, GET /v1/models, GET /v1/models/{id},"
        " GET/POST /v1/responses, POST /v1/responses/compact, POST /v1/responses/input_tokens,"
        " DELETE/GET /v1/responses/{id}, POST /v1/responses/{id}/cancel"
        " and GET /v1/responses/{id}/input_items."
    )
    (request,) = told
    assert request.kind == "POST /v1/chat/completions"
    assert "refused POST /v1/chat/completions with HTTP status 404" in caplog.text


async def test_a_method_that_is_not_served_is_recorded(wire: Wire, told: list[RequestRecord]) -> None:
    status, body = await wire.call("PUT", "/responses")
    assert status == 405
    assert "GET/POST /v1/responses" in body["error"]["message"]
    assert [each.kind for each in told] == ["PUT /v1/responses"]


async def test_a_get_that_is_no_upgrade_is_recorded(wire: Wire, told: list[RequestRecord]) -> None:
    status, _ = await wire.call("GET", "/responses")
    assert status == 426
    assert [each.kind for each in told] == ["GET /v1/responses"]


async def test_a_line_break_in_a_url_does_not_reach_the_log(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    status, _ = await wire.call("GET", "/no%0Athing")
    assert status == 404
    assert "refused GET /v1/no%0Athing with" in caplog.text


async def test_an_observer_that_raises_ends_no_connection(
    wire: Wire, told: list[RequestRecord], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(request: RequestRecord) -> None:
        raise KeyError(request.kind)

    wire.emulator.on_request.insert(0, fails)
    async with wire.socket() as socket:
        done = await socket.response(input="x")
        await socket.send(type="response.steer", previous_response_id=done["id"], input="late")
        await socket.until("response.steer.failed")
        await socket.raw.send_str("no JSON")
        await socket.until("error")
        await socket.send(type="unknown")
        await socket.until("error")
        await socket.response(input="y")
        assert (await wire.post(input="x"))[0] == 200
        assert (await wire.post())[0] == 400
        assert (await wire.call("GET", "/responses/resp_x"))[0] == 404
        assert (await wire.call("GET", "/nothing"))[0] == 404
        await socket.response(input="z")
    assert len(told) == 10
    assert "raised an exception" in caplog.text
