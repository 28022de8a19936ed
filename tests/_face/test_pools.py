from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from trunkline import World
from trunkline._decisions.lineage import LineageLimits
from trunkline._face import pools as module
from trunkline._face.memories import MAX_MEMORIES
from trunkline._face.pools import Pools
from trunkline._face.upstream import Settings, Upstream
from trunkline.emulator import Emulator

from ..talk import Timing
from ..waiting import until

URL = "http://127.0.0.1:9/v1/responses"
HEADERS = {"authorization": "Bearer a"}


class Clock(Timing):
    """A clock that the test advances; the sweep of pools is its upkeep."""

    UPKEEP_S = module._SWEEP_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(clock: Clock) -> Settings:
    return Settings(world=clock.world, lanes=True)


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made = Pools()
    yield made
    await made.close([*made._of_loop().upstreams.values()])


async def test_equal_callers_share_an_upstream(pools: Pools, settings: Settings) -> None:
    one = pools.upstream(URL, HEADERS, settings)
    assert pools.upstream(URL, dict(HEADERS), replace(settings)) is one


async def test_others_have_one_of_their_own(pools: Pools, settings: Settings) -> None:
    one = pools.upstream(URL, HEADERS, settings)
    others = [
        pools.upstream(f"{URL}?a=b", HEADERS, settings),
        pools.upstream(URL, {"authorization": "Bearer b"}, settings),
        pools.upstream(URL, {**HEADERS, "x": "y"}, settings),
        pools.upstream(URL, HEADERS, replace(settings, lanes=False)),
        pools.upstream(URL, HEADERS, replace(settings, world=World())),
    ]
    assert len({one, *others}) == 6
    # Another number of lanes, or another clock, is no other service.
    assert len({each.memory for each in (one, *others)}) == 4


async def test_a_tenancy_keeps_the_memory_when_a_token_changes(pools: Pools, settings: Settings) -> None:
    one = pools.upstream(URL, HEADERS, settings, "tenant")
    other = pools.upstream(URL, {"authorization": "Bearer b"}, settings, "tenant")
    third = pools.upstream(URL, {"authorization": "Bearer b"}, settings, "another")
    assert one is not other
    assert one.memory is other.memory
    assert third is not other  # a tenancy shares neither sockets nor memory with another
    assert pools.memories(URL) == [one.memory, third.memory]


async def test_an_upstream_that_nobody_uses_is_closed(pools: Pools, settings: Settings, clock: Clock) -> None:
    one = pools.upstream(URL, HEADERS, settings)
    clock.now += module.IDLE_S - 1
    clock.keep_up()
    assert pools.upstream(URL, HEADERS, settings) is one
    one.used_at = clock.now
    clock.now += module.IDLE_S + 1
    one.running = 1
    clock.keep_up()
    assert pools.upstream(URL, HEADERS, settings) is one
    one.running = 0
    clock.keep_up()
    again = pools.upstream(URL, HEADERS, settings)
    assert again is not one
    assert again.memory is one.memory  # which stays longer


async def opened(pools: Pools, emulator: Emulator, name: str, settings: Settings) -> Upstream:
    upstream = pools.upstream(f"{emulator.base_url}/responses", {"authorization": f"Bearer {name}"}, settings)
    url = f"{emulator.base_url}/responses".replace("http", "ws", 1)
    assert await upstream._transports.warm(url, 1) is None
    return upstream


async def test_beyond_a_number_of_upstreams_with_sockets_the_oldest_idle_one_is_closed(
    pools: Pools, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LIVE", 2)
    async with Emulator(api_key=None) as emulator:
        made = [await opened(pools, emulator, name, settings) for name in "abc"]
        made[0].running = 1
        await opened(pools, emulator, "d", settings)
        await until(lambda: len(emulator.live_connections) == 3, "one is closed")
        left = list(pools._of_loop().upstreams.values())
        assert made[0] in left
        assert made[1] not in left
        await pools.close(left)


async def test_memories_are_bounded(pools: Pools, settings: Settings) -> None:
    for number in range(MAX_MEMORIES + 5):
        pools.upstream(URL, {"x": f"{number}"}, settings)
    assert len(pools.memories(URL)) == MAX_MEMORIES


async def test_a_memory_ends_long_after_its_sockets(pools: Pools, settings: Settings, clock: Clock) -> None:
    pools.upstream(URL, HEADERS, settings)
    clock.now += module.IDLE_S + 1
    clock.keep_up()  # its sockets
    clock.now += LineageLimits().idle_s - 1
    clock.keep_up()
    assert len(pools.memories(URL)) == 1
    clock.now += 2
    clock.keep_up()
    assert pools.memories(URL) == []


def test_each_event_loop_has_its_own(settings: Settings) -> None:
    made = Pools()

    async def upstream() -> Upstream:
        return made.upstream(URL, HEADERS, Settings())

    with asyncio.Runner() as one, asyncio.Runner() as other:
        assert one.run(upstream()) is not other.run(upstream())
        assert one.run(upstream()) is one.run(upstream())


def test_a_loop_that_was_closed_without_care_leaves_nothing(recwarn: pytest.WarningsRecorder) -> None:
    made = Pools()

    async def open_one(emulator: Emulator) -> None:
        await opened(made, emulator, "a", Settings(lanes=True))

    async def use() -> None:
        made.upstream(URL, HEADERS, Settings())

    with Emulator(api_key=None).run_in_thread() as running:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(open_one(running.emulator))
        loop.close()
        asyncio.run(use())
        assert len(made._loops) <= 2
        del loop
        gc.collect()
    assert not [each for each in recwarn if "trunkline" in str(each.message)]


def test_a_forked_child_begins_with_none() -> None:
    before = module.pools()
    module._begin_in_child()  # what fork calls in the child
    assert module.pools() is not before
    module._pools = before
