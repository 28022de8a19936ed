"""Conversations of the client with servers that deviate: equal contexts, or one clear error."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

import trunkline
from trunkline.emulator import QUIRKS, Emulator, assert_context
from trunkline.emulator.quirks import PROXY_LIMIT_BYTES

from ...talk import ask, client_of, first_text
from ...waiting import soon, until

Transport = Literal["auto", "websocket", "http"]
PROMPTLY = trunkline.Policy(backoff_s=0.01)
NO_SOCKETS = ("ollama", "proxy")
NO_LANES = ("litellm", "xai", "azure")


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"12 degrees in {city}"


@asynccontextmanager
async def talking(*quirks: str, **options: Any) -> AsyncIterator[tuple[trunkline.Client, Emulator]]:
    """A client of a server with these quirks; it is not told that there are lanes."""
    async with (
        Emulator(quirks=quirks) as emulator,
        client_of(emulator, **{"lanes": None, "policy": PROMPTLY} | options) as client,
    ):
        yield client, emulator


async def take(chat: trunkline.Conversation, words: str, emulator: Emulator) -> None:
    """Take a turn, whose context on the server must be that of the conversation."""
    await soon(chat.run(words), within_s=60)
    record = next(each for each in [*emulator.responses.values()][::-1] if each.status == "completed")
    assert_context([*record.effective_context, *record.output], chat.items)


@pytest.mark.parametrize("instructions", [None, "Be brief."])
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize(
    ("name", "transport"),
    [
        (name, transport)
        for name in QUIRKS
        for transport in ("auto", "websocket", "http")
        if transport != "websocket" or name not in NO_SOCKETS
    ],
)
async def test_the_model_sees_the_context_of_each_conversation(
    name: str, transport: Transport, store: bool, instructions: str | None
) -> None:
    async with talking(name, transport=transport) as (client, emulator):
        chat = client.conversation(model="mixed", tools=[get_weather], store=store, instructions=instructions)
        other = client.conversation(model="mixed", store=store)
        await chat.warm()
        for turn in range(2):
            await take(chat, f"weather in Oslo, {turn}", emulator)
            await take(other, f"weather in Rome, {turn}", emulator)
        async with chat.send("and in Bergen?", tool_choice="none", model="words-50") as stream:
            await first_text(stream)
        await take(chat, "weather in Paris", emulator)
        chat.replace([*chat.items[:1], {"role": "assistant", "content": "Mild."}])
        await take(chat, "weather in Oslo", emulator)
        await take(other, "weather in Rome", emulator)


@pytest.mark.parametrize(
    ("name", "error"), [("ollama", trunkline.UpgradeRefused), ("proxy", trunkline.ConnectionLost)]
)
async def test_where_no_socket_carries_a_turn_the_error_says_so(name: str, error: type[Exception]) -> None:
    async with talking(name, transport="websocket") as (client, emulator):
        with pytest.raises(error):
            await soon(client.conversation(model="echo").run("hi"))
        assert len(emulator.responses) == 0


@pytest.mark.parametrize("name", NO_LANES)
async def test_a_client_that_is_told_of_lanes_says_that_there_are_none(name: str) -> None:
    async with talking(name, lanes=True) as (client, _):
        with pytest.raises(trunkline.ProtocolViolation, match=r"lanes=False"):
            await soon(client.conversation(model="echo").run("hi"))


async def test_a_response_whose_id_may_be_that_of_another_one_is_not_named() -> None:
    async with talking("xai", transport="websocket") as (client, emulator):
        gate = emulator.faults.hold(request=2, event=1)
        one, two = client.conversation(model="echo"), client.conversation(model="echo")
        await ask(one, "my secret")
        running = asyncio.ensure_future(two.run("hello"))
        await until(lambda: gate.held == 1, "the second request is on the socket of the first")
        assert client.state().sockets == 1
        stream = await ask(one, "what is it?")  # on another socket
        assert (stream.metrics.mode, stream.metrics.attempts) == ("full", 1)
        gate.open()
        await soon(running)
        # Now it is known that the server repeats ids.
        assert (await ask(two, "and now?")).metrics.mode == "full"
        assert two.save()["responses"] == []


async def test_an_id_that_no_other_response_can_have_is_named_after_a_restart() -> None:
    async with talking("azure", transport="websocket") as (client, emulator):
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await ask(chat, "two")
        saved = chat.save()
        async with client_of(emulator, lanes=None) as other:
            stream = await ask(other.conversation(saved=saved), "three")
            assert stream.metrics.mode == "delta"


@pytest.mark.parametrize("name", ["vllm", "azure", "codex", "litellm", "xai"])
async def test_concurrent_conversations_do_not_meet(name: str) -> None:
    async def talk(client: trunkline.Client, number: int) -> None:
        chat = client.conversation(model="echo")
        for turn in range(3):
            await soon(chat.run(f"conversation {number}, turn {turn}"), within_s=60)

    lanes = True if name == "vllm" else None
    async with talking(name, lanes=lanes) as (client, emulator):
        await asyncio.gather(*(talk(client, number) for number in range(24)))
        seen: Counter[tuple[str, int]] = Counter()
        for record in emulator.responses.values():
            numbers = set(re.findall(r"conversation (\d+)", str(record.effective_context)))
            assert len(numbers) == 1
            seen[numbers.pop(), len(record.effective_context)] += 1
        assert seen == {(str(number), length): 1 for number in range(24) for length in (1, 3, 5)}


async def test_an_unknown_model_on_a_bound_socket_is_a_typed_error() -> None:
    async with talking("litellm", transport="websocket") as (client, _):
        with pytest.raises(trunkline.ConnectionLost, match="1011"):
            await soon(client.conversation(model="nobody-knows-it").run("hi"))


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_failure_whose_reason_follows_has_the_reason_and_concerns_no_later_turn(
    transport: Transport,
) -> None:
    async with talking("azure", transport=transport) as (client, emulator):
        chat = client.conversation(model="echo")
        with pytest.raises(trunkline.ServiceError) as failure:
            await soon(chat.run("hi", model="fail-invalid_prompt"))
        assert failure.value.code == "invalid_prompt"
        assert chat.items == []
        await take(chat, "hi again", emulator)


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("name", ["azure", "codex"])
async def test_a_wait_in_another_spelling_is_kept(name: str, transport: Transport) -> None:
    async with talking(name, transport=transport) as (client, emulator):
        wait = {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after": "60"}}
        emulator.faults.add("reject", **wait)
        with pytest.raises(trunkline.ResponseRefused) as refusal:
            await soon(client.conversation(model="echo").run("hi", deadlines=trunkline.Deadlines(total=5)))
        assert refusal.value.retry_after_s == 60
        assert refusal.value.status == 429


async def test_a_turn_above_a_proxys_limit_goes_over_http() -> None:
    async with talking("proxy-limit", transport="auto") as (client, emulator):
        chat = client.conversation(model="echo")
        await take(chat, "x" * PROXY_LIMIT_BYTES, emulator)
        assert [*emulator.responses.values()][-1].transport == "http"
        await take(client.conversation(model="echo"), "small", emulator)
        assert [*emulator.responses.values()][-1].transport == "websocket"


async def test_a_steer_that_the_server_does_not_know_harms_no_answer() -> None:
    async with talking("vllm", lanes=True) as (client, emulator):
        gate = emulator.faults.hold(event=6, times=None)
        neighbour = asyncio.ensure_future(client.conversation(model="words-9").run("hi"))
        async with client.conversation(model="words-9").send("hi") as stream:
            await first_text(stream)
            with pytest.raises(trunkline.SteerRefused):
                await soon(stream.steer("stop"))
            gate.open()
            assert (await soon(stream.finish())).status == "completed"
        assert (await soon(neighbour)).status == "completed"
