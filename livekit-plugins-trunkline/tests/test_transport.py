"""Sockets, URLs, HTTP, prewarming and event loops."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trunkline as core
from livekit.agents import APIError
from livekit.agents.llm import ChatContext
from livekit.plugins import trunkline
from trunkline.emulator import Emulator

from .talk import MODEL, ask, context, new_items, responses


def llm_of(emulator: Emulator, **options: object) -> trunkline.LLM:
    given = {"model": MODEL, "base_url": emulator.base_url, "api_key": emulator.api_key, **options}
    return trunkline.LLM(**given)  # type: ignore[arg-type]


class Relay:
    """A TCP relay to the emulator that counts connections and answers."""

    def __init__(self) -> None:
        self.accepted = 0
        self.answered = 0
        self.base_url = ""


@asynccontextmanager
async def relay_to(emulator: Emulator) -> AsyncIterator[Relay]:
    relay = Relay()
    upstream = urlsplit(emulator.base_url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            relay.answered += counts
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay.accepted += 1
        from_server, to_server = await asyncio.open_connection(upstream.hostname, upstream.port)
        await asyncio.gather(pass_on(reader, to_server, False), pass_on(from_server, writer, True))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        relay.base_url = f"http://127.0.0.1:{port}{upstream.path}"
        yield relay


async def talk(llm: Any, *said: str) -> ChatContext:
    chat_ctx = ChatContext.empty()
    for words in said:
        chat_ctx.add_message(role="user", content=words)
        assert (await ask(llm, chat_ctx)).text == f"You said: {words}"
    return chat_ctx


@pytest.mark.parametrize("ending", ["", "/", "/responses", "/responses/"])
async def test_urls_of_either_form_lead_to_the_socket(ending: str, emulator: Emulator) -> None:
    async with llm_of(emulator, base_url=emulator.base_url + ending) as llm:
        await talk(llm, "Hello")
    async with llm_of(emulator, base_url=emulator.base_url.replace("http", "ws") + ending) as llm:
        await talk(llm, "Hello")
    assert {made.transport for made in responses(emulator)} == {"websocket"}
    assert [dict(connection.query) for connection in emulator.connections] == [{"model": MODEL}] * 2


async def test_settings_come_from_the_environment(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", emulator.api_key or "")
    async with trunkline.LLM(model=MODEL) as llm:
        await talk(llm, "Hello")


async def test_keys_may_come_from_a_function(emulator: Emulator) -> None:
    async def key() -> str:
        return emulator.api_key or ""

    async with llm_of(emulator, api_key=key) as llm:
        await talk(llm, "Hello")


async def test_one_socket_serves_turn_after_turn(emulator: Emulator) -> None:
    async with llm_of(emulator) as llm:
        await talk(llm, "Hello", "How are you", "Fine")
    assert len(emulator.connections) == 1
    assert new_items(emulator) == [1, 1, 1]
    assert emulator.live_connections == []


async def test_over_http_ids_are_continued(emulator: Emulator) -> None:
    async with llm_of(emulator, use_websocket=False) as llm:
        await talk(llm, "Hello", "How are you", "Fine")
    assert {made.transport for made in responses(emulator)} == {"http"}
    assert new_items(emulator) == [1, 1, 1]


async def test_over_http_without_a_store_everything_is_sent(emulator: Emulator) -> None:
    async with llm_of(emulator, use_websocket=False, store=False) as llm:
        await talk(llm, "Hello", "How are you", "Fine")
    assert new_items(emulator) == [1, 3, 5]


async def test_without_a_store_the_socket_remembers(emulator: Emulator) -> None:
    async with llm_of(emulator, store=False) as llm:
        await talk(llm, "Hello", "How are you", "Fine")
    assert new_items(emulator) == [1, 1, 1]


async def test_llms_of_one_loop_and_credential_share_sockets(emulator: Emulator) -> None:
    first, second = llm_of(emulator), llm_of(emulator, verbosity="low")
    await talk(first, "Hello")
    await talk(second, "Hello", "How are you")
    assert first.client is second.client
    assert len(emulator.connections) == 1
    await first.aclose()
    await talk(second, "And you")
    with pytest.raises(APIError, match="closed"):
        await ask(first, context("Hello"))
    await second.aclose()
    assert emulator.live_connections == []
    third = llm_of(emulator)
    await talk(third, "Hello")
    await third.aclose()
    assert len(emulator.connections) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"api_key": "sk-other"},
        {"use_websocket": False},
        {"extra_headers": {"x-tenant": "b"}},
        {"timeout": httpx2.Timeout(3.0)},
        {"lanes": True},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_llms_with_other_credentials_or_transports_share_nothing(
    other: dict[str, Any], emulator: Emulator
) -> None:
    async with llm_of(emulator) as first, llm_of(emulator, **other) as second:
        assert isinstance(first, trunkline.LLM)
        assert isinstance(second, trunkline.LLM)
        assert first.client is not second.client


async def test_another_organization_in_the_environment_is_another_credential(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = llm_of(emulator)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-b")
    second = llm_of(emulator)
    assert first.client is not second.client
    await talk(first, "Hello")
    await talk(second, "Hello")
    organizations = [made.headers.get("OpenAI-Organization") for made in emulator.connections]
    assert organizations == [None, "org-b"]
    await first.aclose()
    await second.aclose()


async def test_a_key_function_without_a_hash_is_a_credential_of_its_own(emulator: Emulator) -> None:
    class Key:
        __hash__ = None  # type: ignore[assignment]

        async def __call__(self) -> str:
            return emulator.api_key or ""

    key = Key()
    async with llm_of(emulator, api_key=key) as first, llm_of(emulator, api_key=key) as second:
        assert isinstance(first, trunkline.LLM)
        assert isinstance(second, trunkline.LLM)
        assert first.client is not second.client
        await talk(first, "Hello")


async def test_a_dropped_llm_does_not_keep_the_shared_client_open(emulator: Emulator) -> None:
    first, second = llm_of(emulator), llm_of(emulator)
    await talk(first, "Hello")
    await talk(second, "Hello")
    del first
    gc.collect()
    await second.aclose()
    assert emulator.live_connections == []


async def test_a_shared_client_is_left_open(emulator: Emulator, client: trunkline.Client) -> None:
    for _ in range(2):
        async with trunkline.LLM(model=MODEL, client=client) as llm:
            await talk(llm, "Hello", "How are you")
    assert client.connections == 1
    assert trunkline.Client is core.Client


async def test_prewarming_opens_a_socket_before_it_is_needed(emulator: Emulator) -> None:
    async with llm_of(emulator) as llm:
        llm.prewarm()
        llm.prewarm()
        async with asyncio.timeout(10):
            while not emulator.live_connections:
                await asyncio.sleep(0.01)
        await talk(llm, "Hello")
    assert len(emulator.connections) == 1


async def test_prewarming_over_http_opens_the_connection_that_requests_use(emulator: Emulator) -> None:
    async with relay_to(emulator) as relay:
        async with llm_of(emulator, base_url=relay.base_url, use_websocket=False) as llm:
            before = asyncio.all_tasks()
            llm.prewarm()
            # The answer has arrived earlier than its connection is free again.
            await asyncio.wait_for(asyncio.wait(asyncio.all_tasks() - before), 30)
            assert relay.answered
            await talk(llm, "Hello", "How are you")
        assert relay.accepted == 1
    assert {made.transport for made in responses(emulator)} == {"http"}


async def test_prewarming_fails_unheard_and_is_ended_with_the_llm(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", seconds=30)
    llm = llm_of(emulator)
    llm.prewarm()
    async with asyncio.timeout(10):
        while not emulator.handshakes:
            await asyncio.sleep(0.01)
    await asyncio.wait_for(llm.aclose(), 10)
    over_http = llm_of(emulator, use_websocket=False)
    over_http.prewarm()
    await asyncio.sleep(0.01)
    await over_http.aclose()
    assert len(emulator.connections) <= 1


async def test_a_closed_llm_says_so(emulator: Emulator) -> None:
    llm = llm_of(emulator)
    await talk(llm, "Hello")
    await llm.aclose()
    with pytest.raises(Exception, match="closed"):
        await ask(llm, context("Hello"))


async def test_a_timeout_is_taken_over(emulator: Emulator) -> None:
    llm = llm_of(emulator, timeout=httpx2.Timeout(7.0, read=3.0))
    async with llm:
        assert (llm.client.deadlines.connect, llm.client.deadlines.between_events) == (7.0, 3.0)
        await talk(llm, "Hello")


def test_one_llm_serves_one_event_loop_after_another() -> None:
    with Emulator().run_in_thread() as emulator:
        llm = trunkline.LLM(model=MODEL, base_url=emulator.base_url, api_key=emulator.api_key or "")

        async def job() -> None:
            await talk(llm, "Hello", "How are you")
            await llm.aclose()

        for _ in range(2):
            asyncio.run(job())
        assert len(emulator.connections) == 2


async def test_two_drafts_of_one_turn_run_side_by_side(emulator: Emulator, llm: trunkline.LLM) -> None:
    chat_ctx = await talk(llm, "Hello")
    first, second = chat_ctx.copy(), chat_ctx.copy()
    first.add_message(role="user", content="How a")
    second.add_message(role="user", content="How are you")
    async with llm.chat(chat_ctx=first), llm.chat(chat_ctx=second) as kept:
        await asyncio.sleep(0)
        answer = await kept.collect()
    assert answer.text == "You said: How are you"
    second.add_message(role="assistant", content=answer.text)
    second.add_message(role="user", content="Fine")
    await ask(llm, second)
    assert new_items(emulator)[-1] == 1
