"""Connections to peers that have gone silent: PINGs, doubt, death, and the turns on them.

Without sockets and on a clock of the test, except for the last part.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trunkline
from trunkline import Cause, Deadlines, PoolLimits
from trunkline.emulator import FakeClock, FakeNetwork, FakeSocket

from ..talk import ask
from ..waiting import soon, until

Turn = asyncio.Task[trunkline.ResponseStream]
PATIENT = Deadlines(first_event=None, between_events=None)


def answer_to(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of an answer of one word, which is seen before the last event."""
    message = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "yes"}],
    }
    response = {"id": f"resp_{id(request)}", "output": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": "yes"},
        {"type": "response.completed", "response": {**response, "output": [message]}},
    ]
    lane = {"stream_id": request["stream_id"]} if "stream_id" in request else {}
    return [{**event, "sequence_number": number, **lane} for number, event in enumerate(events)]


class Talk:
    """A client without a network, and the clock of its peers."""

    def __init__(self, client: trunkline.Client, network: FakeNetwork, clock: FakeClock) -> None:
        self.client = client
        self.network = network
        self.clock = clock

    @property
    def sockets(self) -> list[FakeSocket]:
        return self.network.sockets

    async def asks(self, text: str = "hello") -> Turn:
        """A turn whose request was sent."""
        before = self.requests
        turn = asyncio.create_task(ask(self.client.conversation(model="m"), text))
        await until(lambda: self.requests > before, "the request is sent")
        return turn

    @property
    def requests(self) -> int:
        return sum(len(socket.sent) for socket in self.sockets)

    async def passes(self, seconds: float) -> None:
        """Let time pass in steps, so that tasks run between them."""
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            for _ in range(10):
                await asyncio.sleep(0)

    async def is_answered(
        self, turn: Turn, socket: FakeSocket, request: int = -1
    ) -> trunkline.ResponseStream:
        socket.receive(*answer_to(socket.sent[request]))
        return await soon(turn)


@asynccontextmanager
async def talk(
    *, lanes: bool = True, limits: PoolLimits | None = None, **options: Any
) -> AsyncIterator[Talk]:
    network, clock = FakeNetwork(), FakeClock()
    world = trunkline.World(clock=clock, call_later=clock.call_later, dial=network.dial)
    async with trunkline.Client(
        api_key="sk-x",
        base_url="http://fake/v1",
        lanes=lanes,
        world=world,
        limits=limits,
        deadlines=options.pop("deadlines", PATIENT),
        transport="websocket",
        **options,
    ) as client:
        yield Talk(client, network, clock)


async def test_silence_is_pinged_while_a_turn_waits() -> None:
    async with talk() as told:
        turn = await told.asks()
        await told.passes(1.75)
        assert told.sockets[0].pings == 0
        await told.passes(0.25)
        assert told.sockets[0].pings == 1
        await told.passes(60)  # a model that thinks
        assert 20 <= told.sockets[0].pings <= 31
        assert (await told.is_answered(turn, told.sockets[0])).metrics.attempts == 1


async def test_a_dead_peer_is_left_after_five_seconds_and_the_turn_is_answered_elsewhere() -> None:
    async with talk() as told:
        turn = await told.asks()
        told.sockets[0].answers_pings = False
        await told.passes(4.75)
        assert told.requests == 1
        await told.passes(0.25)
        await until(lambda: told.requests == 2, "it is sent again")
        assert not told.sockets[0].is_open
        stream = await told.is_answered(turn, told.sockets[1])
        assert stream.metrics.recoveries == [Cause.CONNECTION]


async def test_a_process_that_was_stopped_gives_its_peers_time_to_answer() -> None:
    async with talk() as told:
        turn = await told.asks()
        told.sockets[0].answers_pings = False
        await told.passes(2)
        assert told.sockets[0].pings == 1
        told.clock.now += 60  # no timer ran
        await told.passes(0.25)
        assert told.sockets[0].is_open
        assert (await told.is_answered(turn, told.sockets[0])).metrics.attempts == 1


async def test_a_doubted_connection_takes_no_new_turns() -> None:
    async with talk() as told:
        first = await told.asks("first")
        told.sockets[0].answers_pings = False
        await told.passes(4)
        second = await told.asks("second")
        assert [len(socket.sent) for socket in told.sockets] == [1, 1]
        assert told.client.state().sockets == 2
        await told.is_answered(second, told.sockets[1])
        await told.is_answered(first, told.sockets[0])


async def test_any_byte_ends_the_doubt() -> None:
    async with talk(limits=PoolLimits(max_connections=1)) as told:
        first = await told.asks("first")
        told.sockets[0].answers_pings = False
        await told.passes(4)
        second = asyncio.create_task(ask(told.client.conversation(model="m"), "second"))
        await told.passes(0.5)
        assert told.requests == 1, "it waits: no other connection may be dialled"
        told.sockets[0].receive({"type": "keepalive"})
        await told.passes(0.5)
        await until(lambda: told.requests == 2, "it is sent")
        assert len(told.sockets) == 1
        await told.is_answered(first, told.sockets[0], 0)
        await told.is_answered(second, told.sockets[0], 1)


async def test_output_that_was_seen_is_not_asked_for_again() -> None:
    async with talk() as told:
        chat = told.client.conversation(model="m")

        async def read() -> None:
            async with chat.send("hello") as stream:
                async for _ in stream:
                    pass

        turn = asyncio.create_task(read())
        await until(lambda: told.requests == 1, "the request is sent")
        socket = told.sockets[0]
        socket.answers_pings = False
        socket.receive(*answer_to(socket.sent[0])[:-1])
        await told.passes(7)
        (error,) = await asyncio.gather(turn, return_exceptions=True)
        assert isinstance(error, trunkline.ConnectionLost)
        assert error.output_seen
        assert "did not answer a ping within 3 s" in str(error)
        assert told.requests == 1


async def test_an_idle_connection_to_a_dead_peer_is_found_within_nine_seconds() -> None:
    async with talk() as told:
        await told.client.warm(model="m")
        told.sockets[0].answers_pings = False
        await told.passes(9)
        assert told.client.connections == 0
        assert not told.sockets[0].is_open


async def test_idle_connections_are_pinged_at_the_interval_of_the_client() -> None:
    async with talk(ping_interval_s=10.0) as told:
        await told.client.warm(model="m")
        await told.passes(9)
        assert told.sockets[0].pings == 0
        await told.passes(1)
        assert told.sockets[0].pings == 1


async def test_the_death_of_one_peer_casts_doubt_on_silent_others() -> None:
    """A network that forgets all flows costs the first turn five seconds, not five for each socket."""
    async with talk(lanes=False, ping_interval_s=3600.0) as told:
        await told.client.warm(model="m", connections=3)
        turn = await told.asks()
        for socket in told.sockets:
            socket.answers_pings = False
        await told.passes(5)
        await until(lambda: told.requests == 2, "it is sent again")
        assert len(told.sockets) == 4, "it was sent on a new socket"
        await told.is_answered(turn, told.sockets[3])
        await told.passes(2.5)
        assert [socket.is_open for socket in told.sockets] == [False, False, False, True]


async def test_the_death_of_one_peer_costs_the_living_a_ping() -> None:
    async with talk(lanes=False, ping_interval_s=3600.0) as told:
        await told.client.warm(model="m", connections=3)
        turn = await told.asks()
        dead = next(socket for socket in told.sockets if socket.sent)
        dead.answers_pings = False
        await told.passes(5.5)
        living = [socket for socket in told.sockets[:3] if socket is not dead]
        assert [socket.pings for socket in living] == [1, 1]
        await until(lambda: told.requests == 2, "it is sent again")
        asked = next(socket for socket in told.sockets if socket.sent and socket is not dead)
        await told.is_answered(turn, asked)
        again = await told.asks("again")
        assert sum(len(socket.sent) for socket in told.sockets) == 3
        asked = max(told.sockets, key=lambda socket: len(socket.sent) if socket.is_open else 0)
        assert all(socket.is_open for socket in living)
        again.cancel()


async def test_other_turns_of_a_socket_that_was_too_slow_learn_within_two_seconds_that_it_is_dead() -> None:
    async with talk(deadlines=Deadlines(first_event=1.0)) as told:
        hasty = asyncio.create_task(ask(told.client.conversation(model="m"), "hasty"))
        await until(lambda: told.requests == 1, "the request is sent")
        patient = asyncio.create_task(
            ask(told.client.conversation(model="m"), "patient", deadlines=PATIENT),
        )
        await until(lambda: told.requests == 2, "the request is sent")
        told.sockets[0].answers_pings = False
        await told.passes(1.25)
        assert told.sockets[0].pings == 1
        await told.passes(2)
        await until(lambda: not told.sockets[0].is_open, "it is given up")
        for turn in (hasty, patient):
            turn.cancel()


async def test_connections_are_kept_for_ever_if_told() -> None:
    limits = PoolLimits(doubt_after_s=math.inf, dead_after_s=math.inf)
    async with talk(limits=limits) as told:
        turn = await told.asks()
        told.sockets[0].answers_pings = False
        await told.passes(100)
        assert told.sockets[0].pings == 1
        await told.is_answered(turn, told.sockets[0])


async def test_the_timer_ends_with_the_last_connection() -> None:
    async with talk() as told:
        await told.client.warm(model="m")
        told.sockets[0].lose()
        await told.passes(10)
        await told.client.warm(model="m")
        told.sockets[1].answers_pings = False
        await told.passes(9)
        assert not told.sockets[1].is_open, "it began again"
