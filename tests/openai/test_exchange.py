"""The transports with httpx instead of httpx2, as litellm uses them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

import trunkline
import trunkline.openai
from trunkline.emulator import Emulator

BODY: dict[str, Any] = {"model": "echo", "input": "hello"}


def headers(emulator: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {emulator.api_key}"}


def transport(**options: Any) -> Any:
    return trunkline.openai.AsyncTransport(httpx, lanes=True, **options)


async def test_an_asynchronous_client_of_httpx(emulator: Emulator) -> None:
    async with httpx.AsyncClient(transport=transport(), headers=headers(emulator)) as client:
        answer = await client.post(f"{emulator.base_url}/responses", json=BODY)
        assert isinstance(answer, httpx.Response)
        assert answer.headers["x-trunkline-mode"] == "full"
        async with client.stream(
            "POST", f"{emulator.base_url}/responses", json={**BODY, "stream": True}
        ) as streamed:
            lines = [line async for line in streamed.aiter_lines()]
        assert lines[0] == "event: response.created"
        assert (await client.get(f"{emulator.base_url}/models")).json()["data"]


def test_a_synchronous_client_of_httpx() -> None:
    with Emulator().run_in_thread() as emulator:
        made: Any = trunkline.openai.Transport(httpx, lanes=True)
        with httpx.Client(transport=made, headers=headers(emulator)) as client:
            answer = client.post(f"{emulator.base_url}/responses", json=BODY)
            assert isinstance(answer, httpx.Response)
            assert answer.headers["x-trunkline-mode"] == "full"
            with client.stream(
                "POST", f"{emulator.base_url}/responses", json={**BODY, "stream": True}
            ) as streamed:
                assert next(streamed.iter_lines()) == "event: response.created"
            assert client.get(f"{emulator.base_url}/models").json()["data"]


async def test_exceptions_are_those_of_httpx(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=7)
    async with httpx.AsyncClient(transport=transport(), headers=headers(emulator)) as client:
        body = {"model": "words-10", "input": "x", "stream": True}
        async with client.stream("POST", f"{emulator.base_url}/responses", json=body) as streamed:
            lines = streamed.aiter_lines()
            await anext(lines)
            await emulator.drop_connections()
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in lines:
                    pass
        gate.open()


async def test_a_body_that_is_read_piece_by_piece_is_answered_too(emulator: Emulator) -> None:
    async def pieces() -> Any:
        yield b'{"model":"echo",'
        await asyncio.sleep(0)
        yield b'"input":"hello"}'

    more = {**headers(emulator), "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport()) as client:
        answer = await client.post(f"{emulator.base_url}/responses", content=pieces(), headers=more)
        assert answer.json()["status"] == "completed"


async def test_headers_of_ours_do_not_reach_the_service() -> None:
    seen: list[httpx.Request] = []

    def inner(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    made = transport(inner=httpx.MockTransport(inner))
    async with httpx.AsyncClient(transport=made) as client:
        await client.post(
            "http://x/v1/responses", json=BODY, headers={"X-Trunkline-Key": "a", "X-Other": "b"}
        )
    assert "x-trunkline-key" not in seen[0].headers
    assert seen[0].headers["x-other"] == "b"
    assert seen[0].read() == httpx.Request("POST", "http://x", json=BODY).read()
