from __future__ import annotations

from collections.abc import Coroutine

from trunkline import World
from trunkline.emulator.fake_network import FakeClock
from trunkline.gateway.asgi import Message
from trunkline.gateway.heartbeat import Heartbeat
from trunkline.gateway.streamed import BEAT, Signs

from ..waiting import until

EVENT = b'event: response.created\ndata: {"type":"response.created"}\n\n'


class Watched:
    """A heartbeat every 4 s, with a patience of 10 s, on a clock that the test advances."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.signs = 0
        self.given_up = 0
        world = World(clock=self.clock, call_later=self.clock.call_later)
        self.heartbeat = Heartbeat(world, 4.0, self.sign, patience_s=10.0, give_up=self.give_up)

    def sign(self) -> Coroutine[None, None, None]:
        async def write() -> None:
            self.signs += 1

        return write()

    def give_up(self) -> None:
        self.given_up += 1


async def test_each_silence_has_a_sign() -> None:
    watched = Watched()
    watched.clock.advance(3.9)
    watched.heartbeat.begin_write()
    watched.heartbeat.end_write()
    watched.clock.advance(3.9)
    assert watched.signs == 0
    for number in (1, 2):
        watched.clock.advance(4.0)
        await until(lambda number=number: watched.signs == number, "a sign is written")  # type: ignore[misc]
    watched.heartbeat.end()
    watched.clock.advance(60.0)
    assert (watched.signs, watched.given_up) == (2, 0)


async def test_a_write_that_is_not_taken_has_no_sign_and_is_given_up_once() -> None:
    watched = Watched()
    watched.heartbeat.begin_write()
    watched.clock.advance(9.0)
    assert (watched.signs, watched.given_up) == (0, 0)
    watched.clock.advance(60.0)
    assert (watched.signs, watched.given_up) == (0, 1)


async def test_harmless_events_stand_between_events_only() -> None:
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message["body"])

    signs = Signs(send)
    for chunk, expected in ((b"", b": keep-alive\n\n"), (EVENT[:20], None), (EVENT[20:], BEAT)):
        if chunk:
            signs.follow(chunk)
        write = signs.sign()
        assert (write is None) == (expected is None) == signs.is_within_event
        if write is not None:
            await write
            assert sent.pop() == expected
