"""A round of the drop-in: the callers of `tests.openai.crowd` share one client of the openai SDK.

Most name no conversation. They share words, users, instructions and hosted tools. The emulator deviates as
one of `SERVERS` and injects faults at random. Every turn must end in a response or in an exception of the
SDK. The model's context must equal the history of the caller; hidden items in it must be the caller's own, or
reasoning made from equal items under equal fields.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from typing import Final

from trunkline.emulator import QUIRKS

from ..openai.soak import FAULTS, Soak, Weather
from .figures import Defect, Figures

UNFIT: Final = {"xai", "ollama"}
"""`xai` gives one id to many responses, which names no record of the emulator. `ollama` continues none."""
SERVERS: Final[tuple[tuple[str, ...], ...]] = ((), *((name,) for name in QUIRKS if name not in UNFIT))
DEFECTS: Final = {"lost": Defect.LOST, "wrong": Defect.WRONG, "foreign": Defect.MIXED}
TURNS: Final = 500


async def play(seed: int, number: int, *, turns: int = TURNS) -> Figures:
    """Play one round.

    Args:
        seed: the seed of the soak.
        number: the number of the round. Servers and faults take turns with it.
        turns: the number of turns.
    """
    soak, dice, weather = prepared(seed, number)
    await soak.world(weather, dice, turns, math.inf, f"{seed}:{number}, quirks {weather.quirks}")
    return figures_of(soak, weather)


def prepared(seed: int, number: int) -> tuple[Soak, random.Random, Weather]:
    """A soak for one world, its source of randomness, and its weather."""
    dice = random.Random(f"{seed}:{number}")
    weather = Weather.random(dice)
    first = FAULTS[number % len(FAULTS)]
    faults = [first, *(fault for fault in weather.faults if fault is not first)]
    return Soak(seed), dice, replace(weather, faults=faults, quirks=SERVERS[number % len(SERVERS)])


def figures_of(soak: Soak, weather: Weather) -> Figures:
    """The counts of a soak that has played one world."""
    found = soak.figures
    return Figures(
        turns=found["turns"],
        answered=found["delta"] + found["full"] + found["left"],
        defects=Counter({kind: found[name] for name, kind in DEFECTS.items() if found[name]}),
        errors=soak.errors,
        faults=soak.faults,
        recoveries=soak.recoveries,
        servers=Counter({"+".join(weather.quirks) or "openai": 1}),
    )
