"""Turns that wait for a place are served first come, first served.

Without sockets: the test plays the server, so that it decides when a place becomes free.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, Policy, PoolLimits
from trunkline.emulator import FakeNetwork, FakeSocket

from ..talk import ask
from ..waiting import runs_briefly, soon, until

LIMITS = PoolLimits(max_connections=1, max_in_flight=2)
Turn = asyncio.Task[trunkline.ResponseStream]


class Server:
    """The other end of a `FakeNetwork`, which answers each request when it is told to."""

    def __init__(self) -> None:
        self.network = FakeNetwork()

    @property
    def asked(self) -> list[str]:
        """The text of each request, in the order in which they were sent."""
        return [text_of(request) for socket in self.network.sockets for request in socket.sent]

    def answer(self, text: str) -> None:
        """Answer the latest request with this text."""
        socket, request = next(
            (socket, request)
            for socket in reversed(self.network.sockets)
            for request in reversed(socket.sent)
            if text_of(request) == text
        )
        socket.receive(*answer_to(request))

    async def asked_for(self, *texts: str) -> None:
        """Wait for these requests, and make sure that there are no others."""
        await until(lambda: len(self.asked) >= len(texts), f"{texts} are sent", describe=lambda: self.asked)
        await settle()
        assert self.asked == list(texts)


def text_of(request: dict[str, Any]) -> str:
    content = request["input"][-1]["content"]
    assert isinstance(content, str)
    return content


def answer_to(request: dict[str, Any]) -> list[dict[str, Any]]:
    message = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "yes"}],
    }
    response = {"id": f"resp_{id(request)}", "output": [message]}
    lane = {"stream_id": request["stream_id"]}
    return [
        {"type": "response.created", "response": response, **lane},
        {"type": "response.completed", "response": response, **lane},
    ]


async def settle() -> None:
    """Let every task go on until it waits for something that only the test can bring."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def client_to(server: Server, **options: Any) -> AsyncIterator[trunkline.Client]:
    """A client with two places. They are given back by the end."""
    world = trunkline.World(dial=server.network.dial)
    given = {"limits": LIMITS, "lanes": True, "transport": "websocket", "world": world, **options}
    async with trunkline.Client(api_key="k", base_url="http://fake/v1", **given) as client:
        yield client


async def begun(client: trunkline.Client, *texts: str) -> list[Turn]:
    """One turn of a conversation of its own for each text, begun one after another."""
    turns = []
    for text in texts:
        turns.append(asyncio.create_task(ask(client.conversation(model="m"), text)))
        await settle()
    return turns


async def test_turns_are_served_in_the_order_in_which_they_began_to_wait() -> None:
    server = Server()
    async with client_to(server) as client:
        turns = await begun(client, "a", "b", "c", "d", "e")
        await server.asked_for("a", "b")
        server.answer("b")
        await server.asked_for("a", "b", "c")
        server.answer("a")
        await server.asked_for("a", "b", "c", "d")
        server.answer("d")
        await server.asked_for("a", "b", "c", "d", "e")
        for text in "ce":
            server.answer(text)
        await soon(asyncio.gather(*turns))
        assert client.state().in_flight == 0


async def test_conversations_that_go_on_at_once_do_not_overtake() -> None:
    """Their next turns come the moment a place becomes free, while others have waited for it."""
    server = Server()
    server.network.answer = answer_to

    async def talk(client: trunkline.Client, name: str) -> None:
        chat = client.conversation(model="m")
        for number in range(3):
            await ask(chat, f"{name}{number}")

    async with client_to(server) as client:
        talks = [asyncio.create_task(talk(client, name)) for name in "abcde"]
        await soon(asyncio.gather(*talks))
        assert client.state().in_flight == 0
    assert server.asked == [f"{name}{number}" for number in range(3) for name in "abcde"]


@pytest.mark.parametrize("leaves", ["c", "d", "e"])
async def test_a_turn_that_is_cancelled_leaves_the_queue(leaves: str) -> None:
    server = Server()
    async with client_to(server) as client:
        turns = dict(zip("abcde", await begun(client, *"abcde"), strict=True))
        turns[leaves].cancel()
        await asyncio.wait([turns.pop(leaves)])
        server.answer("a")
        server.answer("b")
        stay = [name for name in "cde" if name != leaves]
        await server.asked_for("a", "b", *stay)
        for name in stay:
            server.answer(name)
        await soon(asyncio.gather(*turns.values()))
        assert client.state().in_flight == 0


async def test_a_place_that_comes_in_the_moment_of_the_cancellation_goes_to_the_next() -> None:
    server = Server()
    async with client_to(server) as client:
        first, second, third, fourth = await begun(client, "a", "b", "c", "d")
        server.answer("a")  # the place is given to the third
        assert client.state().in_flight == 2
        third.cancel()  # who has not been resumed yet
        await asyncio.wait([third])
        assert third.cancelled()
        await server.asked_for("a", "b", "d")
        server.answer("b")
        server.answer("d")
        await soon(asyncio.gather(first, second, fourth))
        assert client.state().in_flight == 0


async def test_a_turn_that_waits_too_long_fails_and_the_next_is_served() -> None:
    server = Server()
    once = Policy(max_attempts=1)
    async with client_to(server, policy=once) as client:
        turns = await begun(client, "a", "b")
        brief = Deadlines(connect=runs_briefly(0.05))
        late = asyncio.create_task(ask(client.conversation(model="m"), "c", deadlines=brief))
        await settle()
        turns += await begun(client, "d")
        with pytest.raises(trunkline.DeadlineExceeded) as passed:
            await soon(late)
        assert (passed.value.phase, passed.value.sent) == ("connect", False)
        server.answer("a")
        await server.asked_for("a", "b", "d")
        server.answer("b")
        server.answer("d")
        await soon(asyncio.gather(*turns))
        assert client.state().in_flight == 0


async def test_closing_the_client_ends_the_turns_that_wait() -> None:
    server = Server()
    async with client_to(server, deadlines=Deadlines(connect=60)) as client:
        turns = await begun(client, "a", "b", "c", "d")
        await soon(client.close())
        ends = await soon(asyncio.gather(*turns, return_exceptions=True))
    assert [type(end) for end in ends[2:]] == [trunkline.ClientClosed] * 2
    assert server.asked == ["a", "b"]


async def test_after_a_lost_connection_the_turns_that_wait_are_served_before_those_it_carried() -> None:
    server = Server()
    async with client_to(server) as client:
        turns = await begun(client, "a", "b", "c", "d")
        lost: FakeSocket = server.network.sockets[0]
        lost.lose()
        await server.asked_for("a", "b", "c", "d")
        server.answer("c")
        server.answer("d")
        await server.asked_for("a", "b", "c", "d", "a", "b")
        server.answer("a")
        server.answer("b")
        streams = await soon(asyncio.gather(*turns))
        assert [stream.metrics.attempts for stream in streams] == [2, 2, 1, 1]
        assert client.state().in_flight == 0


async def test_turns_to_one_url_do_not_overtake_those_to_another_for_ever() -> None:
    """Off OpenAI the model is part of the URL. The connection of the busy model is never idle."""
    server = Server()
    async with client_to(server) as client:
        turns = await begun(client, "a", "b")
        other = asyncio.create_task(ask(client.conversation(model="other"), "x"))
        await settle()
        turns += await begun(client, "c")
        await server.asked_for("a", "b", "x")  # on a connection of its own, while the other one ends
        server.answer("a")
        server.answer("b")
        server.answer("x")
        await server.asked_for("a", "b", "x", "c")
        server.answer("c")
        await soon(asyncio.gather(*turns, other))
        assert len(server.network.sockets) == 3
        assert client.state().in_flight == 0


async def test_a_connection_gives_way_to_the_turn_that_waits_longest() -> None:
    server = Server()
    async with client_to(server) as client:
        turns = await begun(client, "a", "b", "c")
        other = asyncio.create_task(ask(client.conversation(model="other"), "x"))
        await settle()
        await server.asked_for("a", "b")  # "c" waits longer, and for a place of its own model
        server.answer("a")
        await server.asked_for("a", "b", "c", "x")
        for text in "bcx":
            server.answer(text)
        await soon(asyncio.gather(*turns, other))
        assert len(server.network.sockets) == 2
