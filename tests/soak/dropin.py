"""A round of the drop-in: the callers of `tests.openai.crowd` share one client of the openai SDK.

Most name no conversation. They share words, users, instructions and hosted tools. The emulator deviates as
one of `SERVERS` and injects faults at random. Every turn must end in a response or in an exception of the
SDK. The model's context must equal the history of the caller; hidden items in it must be the caller's own, or
reasoning made from equal items under equal fields. Of an answer over a WebSocket, each event must arrive once
and in order, and the text, the output and the usage must be what the service made.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Final

from trunkline.emulator import QUIRKS

from ..openai.worlds import Weather, World
from .faults import FAULTS, NEED_NUMBERS
from .figures import Defect, Figures, tell

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
    world = prepared(seed, number)
    await world.play(turns)
    return figures_of(world)


def prepared(seed: int, number: int) -> World:
    """The world of a round."""
    dice = random.Random(f"{seed}:{number}")
    weather = Weather.random(dice)
    first, others = FAULTS[number % len(FAULTS)], dice.sample(FAULTS, dice.randint(1, 7))
    faults = [first, *(fault for fault in others if fault is not first)]
    if any(action == "omit" for action, _ in faults):
        faults = [fault for fault in faults if fault[0] not in NEED_NUMBERS]
    weather = replace(
        weather,
        faults=faults,
        probability=dice.choice((0.002, 0.02)),
        quirks=SERVERS[number % len(SERVERS)],
    )
    return World(f"{seed}:{number}, quirks {weather.quirks}", weather, dice)


def figures_of(world: World) -> Figures:
    """The counts of a world that was played. Its failures are printed."""
    for failure in world.failures:
        tell(failure)
    found = world.figures
    return Figures(
        turns=found["turns"],
        answered=found["delta"] + found["full"] + found["left"],
        defects=Counter({kind: found[name] for name, kind in DEFECTS.items() if found[name]}),
        errors=world.errors,
        faults=world.faults,
        recoveries=world.recoveries,
        servers=Counter({"+".join(world.weather.quirks) or "openai": 1}),
    )
