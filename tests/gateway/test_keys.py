"""Keys of conversations, as clients of ours send them to gateways: hashed, and to gateways only."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from openai import OpenAI

import trunkline
import trunkline.openai
from trunkline.emulator import Emulator
from trunkline.gateway import Configuration, Gateway

from ..talk import ask
from .running import Running, running

KEY_HEADER = "x-trunkline-key"
MARK = b"x-trunkline-gateway"


class Watched(Gateway):
    """A gateway that notes the keys of its requests and upgrades.

    Attributes:
        names_itself: its answers have the header of a gateway.
        takes_sockets: it takes WebSockets.
        posts: the key of each request for a response.
        upgrades: the key of each upgrade.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.names_itself = True
        self.takes_sockets = True
        self.posts: list[str | None] = []
        self.upgrades: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def quietly(message: Any) -> None:
            if not self.names_itself and "headers" in message:
                message["headers"] = [each for each in message["headers"] if each[0] != MARK]
            await send(message)

        keys = [value.decode() for name, value in scope.get("headers", ()) if name == KEY_HEADER.encode()]
        assert len(keys) <= 1
        if scope["type"] == "websocket":
            self.upgrades.append(next(iter(keys), None))
            if not self.takes_sockets:
                await quietly({"type": "websocket.http.response.start", "status": 404, "headers": []})
                await quietly({"type": "websocket.http.response.body", "body": b""})
                return
        elif scope["type"] == "http" and scope["method"] == "POST":
            self.posts.append(next(iter(keys), None))
        await super().__call__(scope, receive, quietly)


def watched(gateway: Running) -> Watched:
    assert isinstance(gateway.gateway, Watched)
    return gateway.gateway


def over_http(gateway: Running, **options: Any) -> trunkline.Client:
    return gateway.client(lanes=None, transport="http", **options)


async def turn(client: trunkline.Client, key: Any, text: str = "hi") -> None:
    async with client.stream(model="echo", input=text, key=key) as stream:
        await stream.finish()


async def test_a_conversation_over_http_has_one_key_that_no_other_has(emulator: Emulator) -> None:
    async with running(emulator, made=Watched) as gateway, over_http(gateway) as client:
        one, other = (client.conversation(model="echo") for _ in range(2))
        for text in ("one", "two", "three"):
            await ask(one, text)
            await ask(other, text)
        fork = one.fork()
        await ask(fork, "four")
        first, *keys = watched(gateway).posts
    assert first is None  # the server was not known to be a gateway
    assert None not in keys
    of_one, of_other, of_fork = keys[1:4:2], keys[0:5:2], keys[5:]
    assert [len(set(each)) for each in (of_one, of_other, of_fork)] == [1, 1, 1]
    assert len(set(keys)) == 3


async def test_a_saved_conversation_keeps_its_key(emulator: Emulator) -> None:
    async with running(emulator, made=Watched) as gateway:
        async with over_http(gateway) as client:
            chat = client.conversation(model="echo")
            assert "name" not in chat.save()
            for text in ("one", "two"):
                await ask(chat, text)
            saved = chat.save()
        async with over_http(gateway) as client:
            chat = client.conversation(saved=saved)
            for text in ("three", "four"):
                await ask(chat, text)
        assert watched(gateway).posts[1] == watched(gateway).posts[3] is not None


async def test_a_key_of_the_application_is_hashed_alike_in_all_processes(emulator: Emulator) -> None:
    async with running(emulator, made=Watched) as gateway:
        for _ in range(2):
            async with over_http(gateway) as client:
                for key in ("+47 5550 100", "+47 5550 100", ("tenant", 7), object(), None):
                    await turn(client, key)
        keys = watched(gateway).posts
    assert [key is None for key in keys] == [True, False, False, False, True] * 2
    assert keys[1:3] == keys[6:8]
    assert keys[1] != keys[2]
    assert keys[3] != keys[8]  # of an object that no other process knows
    assert not any("5550" in (key or "") for key in keys)


async def test_a_server_that_is_no_gateway_gets_no_key(emulator: Emulator) -> None:
    # An address of its own: the drop-in knows gateways by their addresses, in the whole process.
    async with running(emulator, made=Watched, listen={"host": "127.0.0.2", "port": 0}) as gateway:
        server = watched(gateway)
        server.names_itself = server.takes_sockets = False
        async with over_http(gateway) as client, gateway.client(lanes=None) as falling_back:
            for _ in range(2):
                await turn(client, "secret")
                await turn(falling_back, "secret")
        http = httpx2.AsyncClient(transport=trunkline.openai.AsyncTransport(key=lambda *_: "secret"))
        async with gateway.openai(http_client=http) as sdk:
            for headers in ({}, {KEY_HEADER: "secret"}, {}):
                await sdk.responses.create(model="echo", input="hi", extra_headers=headers)
        assert set(server.posts) == set(server.upgrades) == {None}
        assert len(server.posts) == 7


async def test_each_socket_to_a_gateway_has_a_random_key(emulator: Emulator) -> None:
    async with running(emulator, made=Watched) as gateway, gateway.client(lanes=None) as client:
        await client.warm(model="echo")
        await client.warm(model="echo", connections=3)
        await turn(client, "secret")
        first, *keys = watched(gateway).upgrades
    assert first is None
    assert len(set(keys)) == 2
    assert None not in keys


async def test_a_key_that_a_caller_sets_itself_is_not_replaced(emulator: Emulator) -> None:
    async with running(emulator, made=Watched) as gateway:
        async with over_http(gateway, headers={"X-Trunkline-Key": "own"}) as client:
            for _ in range(2):
                await turn(client, "k")
        assert watched(gateway).posts == ["own", "own"]


@pytest.mark.parametrize("by", ["header", "function"])
async def test_the_drop_in_sends_its_key_hashed_where_no_websocket_is_taken(
    emulator: Emulator, by: str
) -> None:
    transport = trunkline.openai.AsyncTransport(key=(lambda *_: "call-17") if by == "function" else None)
    headers = {KEY_HEADER: "call-17"} if by == "header" else {}
    async with running(emulator, made=Watched) as gateway:
        watched(gateway).takes_sockets = False
        http = httpx2.AsyncClient(transport=transport)
        async with gateway.openai(http_client=http) as sdk:
            for text in ("one", "two", "three"):
                await sdk.responses.create(model="echo", input=text, extra_headers=headers)
        async with over_http(gateway) as client:
            for _ in range(2):
                await turn(client, "call-17")
        unknown, *keys, first_of_client, of_client = watched(gateway).posts
    assert unknown is first_of_client is None
    assert keys == [of_client] * 2
    assert of_client != "call-17"


def test_the_drop_in_of_synchronous_clients_does_so_too() -> None:
    async def talk() -> None:
        async with Emulator() as emulator, running(emulator, made=Watched) as gateway:
            watched(gateway).takes_sockets = False

            def say() -> None:
                http = httpx2.Client(transport=trunkline.openai.Transport())
                with OpenAI(base_url=gateway.base_url, api_key=gateway.api_key, http_client=http) as sdk:
                    for _ in range(2):
                        sdk.responses.create(model="echo", input="hi", extra_headers={KEY_HEADER: "call-17"})

            await asyncio.to_thread(say)
            unknown, key = watched(gateway).posts
            assert unknown is None
            assert key not in (None, "call-17")

    asyncio.run(talk())


async def test_the_key_of_a_socket_is_for_balancers(emulator: Emulator) -> None:
    """The conversations of one socket are not taken for one: each goes on with deltas."""
    async with running(emulator, made=Watched) as gateway:
        headers = {KEY_HEADER: "one-socket"}
        async with gateway.client(headers=headers) as client:
            chats = [client.conversation(model="echo", store=False) for _ in range(12)]
            for text in ("one", "two"):
                for chat in chats:
                    await ask(chat, text)
        assert set(watched(gateway).upgrades) == {"one-socket"}
    parents = [(request.body or {}).get("previous_response_id") for request in emulator.requests]
    assert [parent is not None for parent in parents] == [False] * 12 + [True] * 12
