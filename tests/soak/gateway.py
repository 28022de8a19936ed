"""A round of the gateway: `client` by a gateway, in turn with HTTP callers who share an SDK.

The speakers of `client` use a client whose server is the gateway. The callers of `dropin` use the SDK without
the drop-in, so that the gateway alone continues their conversations. The same is checked as there.
"""

from __future__ import annotations

import httpx2

from trunkline.emulator import Emulator

from ..gateway.running import running
from ..openai.worlds import forget
from . import client, dropin
from .figures import Figures


async def play(seed: int, number: int, *, steps: int = 30, turns: int = dropin.TURNS) -> Figures:
    """Play one round.

    Args:
        seed: the seed of the soak.
        number: the number of the round. Speakers of the client have the even ones, callers over HTTP the odd.
        steps: how often some of the speakers speak at the same time.
        turns: the number of turns of the callers.
    """
    kind, number = number % 2, number // 2
    if kind == 0:
        return await client.play(seed, number, steps=steps, has_gateway=True)
    return await _callers(seed, number, turns)


async def _callers(seed: int, number: int, turns: int) -> Figures:
    world = dropin.prepared(seed, number)
    weather = world.weather
    async with Emulator(zdr=weather.zdr, quirks=weather.quirks) as emulator:
        upstream = {"openai": {"base_url": emulator.base_url, "lanes": weather.lanes}}
        timeout = httpx2.Timeout(5.0, read=1.0)
        async with (
            running(emulator, upstream=upstream) as gateway,
            gateway.openai(max_retries=weather.max_retries, timeout=timeout) as sdk,
        ):
            await world.crowd(emulator, sdk, turns)
    forget(emulator)
    return dropin.figures_of(world)
