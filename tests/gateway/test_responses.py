from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

from trunkline import Hooks, World
from trunkline._face.upstream import limited
from trunkline.emulator import Emulator
from trunkline.gateway import responses, streamed
from trunkline.gateway.caller import ANYONE, DEADLINES, callers_of
from trunkline.gateway.configuration import of

from ..peer import Server
from ..waiting import soon
from .running import Running, running

EVENT = b'event: response.created\ndata: {"type":"response.created"}\n\n'


async def test_the_first_event_is_the_one_that_begins_the_response(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper of the SDK refuses a stream that begins otherwise; comments may precede it."""
    monkeypatch.setattr("trunkline._face.answering.PATIENCE_S", 0.01)
    monkeypatch.setattr(streamed, "BEAT_S", 0.01)
    gate = emulator.faults.hold(event_type="response.created")
    async with running(emulator) as gateway, gateway.openai() as client:
        async with client.responses.stream(model="echo", input="hi") as stream:
            gate.open()
            response = await stream.get_final_response()
        assert response.output_text == "hi"
        raw = b""
        gate = emulator.faults.hold(event_type="response.created")
        async with httpx2.AsyncClient() as http, streaming(http, gateway) as answer:
            async for chunk in answer.aiter_raw():
                raw += chunk
                if raw.count(b": keep-alive\n\n") >= 2:
                    gate.open()
    assert raw.replace(b": keep-alive\n\n", b"").startswith(b"event: response.created\n")


@pytest.mark.parametrize(
    ("tenants", "is_stream", "read_s"), [(False, True, 600), (True, True, 7), (True, False, 600)]
)
async def test_a_stream_is_limited_by_silence_alone(tenants: bool, is_stream: bool, read_s: float) -> None:
    own: dict[str, Any] = {"tenant": {"voice": {"keys_sha256": ["0" * 64], "first_output_s": 7}}}
    key = {"upstream": {"openai": {"api_key_env": "KEY"}}}
    configuration = of({**own, **key} if tenants else {}, {"KEY": "sk-upstream"})
    caller = callers_of(configuration, lambda _: Hooks(), World())["voice" if tenants else ANYONE]
    body = b'{"model":"echo","input":"hi","stream":%b}' % (b"true" if is_stream else b"false")
    limits = responses.admitted(caller, [], "", body)[0].timeouts
    found = limited(DEADLINES, limits.connect, limits.read, is_streamed=is_stream)
    assert (found.first_output, found.between_events) == (read_s, read_s)
    assert found.total == (None if is_stream else read_s)


@pytest.mark.parametrize("rest", [b"", EVENT[:20]], ids=["between", "within"])
async def test_an_upstream_over_http_breaks_between_events_or_within_one(
    emulator: Emulator, server: Server, rest: bytes
) -> None:
    """An error event cannot follow a part of another one: the connection of the caller is cut."""
    upstream = {"openai": {"base_url": f"http://127.0.0.1:{server.port}/v1"}}
    body = b""
    is_cut = False
    async with running(emulator, upstream=upstream) as gateway, httpx2.AsyncClient() as http:
        serving = asyncio.create_task(answer_in_part(server, EVENT + rest))
        try:
            async with streaming(http, gateway) as answer:
                async for chunk in answer.aiter_raw():
                    body += chunk
        except httpx2.RemoteProtocolError:
            is_cut = True
        await soon(serving)
    if rest:
        assert is_cut
        assert body == EVENT + rest
    else:
        assert not is_cut
        assert body.startswith(EVENT + b"event: error\n")


def streaming(http: httpx2.AsyncClient, gateway: Running) -> AbstractAsyncContextManager[httpx2.Response]:
    return http.stream(
        "POST",
        f"{gateway.base_url}/responses",
        headers={"authorization": f"Bearer {gateway.api_key}"},
        json={"model": "echo", "input": "hi", "stream": True},
        timeout=60,
    )


async def answer_in_part(server: Server, body: bytes) -> None:
    """Refuse upgrades, and end the connection of a request amid the body of its answer."""
    while not (peer := await soon(server.next_peer(), 30)).request.startswith(b"POST"):
        peer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        peer.writer.close()
    peer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body)
    )
    await peer.writer.drain()
    peer.writer.close()
