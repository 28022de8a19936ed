"""LiteLLM's proxy, with the emulator as its upstream.

Models of providers without WebSocket, such as ``hosted_vllm/``, are bridged over HTTP. Models of ``openai/``
are relayed over a WebSocket with TLS.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
import trustme

import trunkline
from trunkline.emulator import Emulator

from ..proxy import Proxy
from ..waiting import soon
from .conftest import livekit
from .programs import BIN, free_port, serving
from .talks import TURN_S, Figures, assert_same, two_conversations, two_sessions, upstream

KEY = "sk-litellm-key-of-these-tests-0123456789"
Transport = Literal["websocket", "http"]


@pytest.fixture
async def base_url(emulator: Emulator, tmp_path: Path) -> AsyncIterator[str]:
    upstream_port = urlsplit(emulator.base_url).port
    assert upstream_port is not None
    authority, encrypted, port = trustme.CA(), Proxy(always_to=upstream_port), free_port()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    await encrypted.start(certified(authority))
    upstreams = {
        "plain": ("openai/gpt-5.5", emulator.base_url),
        "bridged": ("hosted_vllm/gpt-5.5", emulator.base_url),
        "relayed": ("openai/gpt-5.5", f"https://127.0.0.1:{encrypted.port}/v1"),
    }
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": model, "api_base": url, "api_key": emulator.api_key},
        }
        for name, (model, url) in upstreams.items()
    ]
    configuration = {"model_list": models, "general_settings": {"master_key": KEY}}
    (tmp_path / "litellm.yaml").write_text(json.dumps(configuration))
    async with serving(
        *(BIN / "litellm", "--config", tmp_path / "litellm.yaml", "--telemetry", "False"),
        *("--host", "127.0.0.1", "--port", str(port)),
        port=port,
        folder=tmp_path,
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
        },
    ) as url:
        yield url
    await encrypted.stop()


def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("model", ["bridged", "relayed"])
async def test_conversations(base_url: str, emulator: Emulator, model: str) -> None:
    cases: list[tuple[Transport, bool, tuple[str, str]]] = [
        ("websocket", True, ("Oslo", "Bergen")),
        ("websocket", False, ("Rome", "Milan")),
        ("http", True, ("Paris", "Lyon")),
        ("http", False, ("Vienna", "Graz")),
    ]
    for transport, store, names in cases:
        turns = Figures()
        async with trunkline.Client(
            base_url=base_url, api_key=KEY, transport=transport, hooks=turns.hooks
        ) as client:
            await two_conversations(client, upstream(emulator), model=model, store=store, names=names)
        assert turns.transports == {transport}
        assert turns.attempts == len(turns)
        # Only the relay tells which parent was used.
        is_chained = (model, transport) == ("relayed", "websocket")
        assert turns.modes.count("delta") == (8 if is_chained else 0)


@pytest.mark.parametrize("model", ["bridged", "relayed"])
async def test_sessions_of_livekit(base_url: str, emulator: Emulator, model: str) -> None:
    cases: list[tuple[Transport, tuple[str, str]]] = [
        ("websocket", ("Oslo", "Bergen")),
        ("http", ("Paris", "Lyon")),
    ]
    for transport, names in cases:
        turns = Figures()
        async with (
            trunkline.Client(
                base_url=base_url, api_key=KEY, transport=transport, hooks=turns.hooks
            ) as client,
            livekit(client, model) as llm,
        ):
            await two_sessions(llm, upstream(emulator), names=names)
        assert turns.transports == {transport}


async def test_lanes_of_a_bridged_model_are_refused_with_their_remedy(base_url: str) -> None:
    async with trunkline.Client(base_url=base_url, api_key=KEY, lanes=True) as client:
        with pytest.raises(trunkline.TrunklineError, match="lanes=False"):
            await client.conversation(model="bridged").run("Good morning.")


async def test_a_relay_that_cannot_reach_its_upstream_is_replaced_by_http(base_url: str) -> None:
    """The proxy accepts the upgrade and then closes: it has no WebSocket to an upstream without TLS."""
    turns = Figures()
    async with trunkline.Client(base_url=base_url, api_key=KEY, hooks=turns.hooks) as client:
        chat = client.conversation(model="plain")
        await chat.run("Good morning.")
        await chat.run("Good night.")
    assert [turn.transport for turn in turns] == ["http", "http"]
    assert turns[1].attempts == 1


@pytest.mark.parametrize("store", [True, False])
async def test_a_conversation_that_changes_its_socket(base_url: str, emulator: Emulator, store: bool) -> None:
    """The memory of a bridged model is that of one socket."""
    turns = Figures()
    async with trunkline.Client(
        base_url=base_url, api_key=KEY, transport="websocket", hooks=turns.hooks
    ) as client:
        chat = client.conversation(model="bridged", store=store)
        seen = upstream(emulator)
        for words in ("one", "two"):
            answer = await soon(chat.run(words), TURN_S)
            assert_same(seen(answer.output_text), chat.items)
        emulator.expect("three").says("A long story.")
        hold = emulator.faults.hold(event=6)
        async with chat.send("three") as stream:
            await anext(aiter(stream.text()))
        for words in ("four", "five", "six"):
            answer = await soon(chat.run(words), TURN_S)
            assert_same(seen(answer.output_text), chat.items)
        hold.open()
    assert [turn.connection for turn in turns] == [1, 1, 1, 2, 2, 2]
