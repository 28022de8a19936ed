"""A round of the client: the speakers of `tests.promise.world` share one client, whose server fails.

The emulator deviates as one of `SERVERS` and injects faults at random; in half of the rounds the link to it
fails too. Every turn must end in a response or in a typed error. The events of a turn must belong to one
response. The model's context must equal the speaker's history.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import trunkline
from trunkline.emulator import QUIRKS

from ..networks.link import Link
from ..openai.worlds import forget
from ..promise.world import MODELS, Speaker, Talker, Turn, World
from ..talk import user
from .faults import FAULTS, NEED_NUMBERS
from .figures import Defect, Figures, defect_of, tell

NETWORK = (
    "silent peer",
    "silent for a while",
    "half open",
    "cut",
    "cut on accept",
    "refuse",
    "restart",
)
"""Faults of the link between client and emulator, in half of the rounds."""
SERVERS: tuple[tuple[str, ...], ...] = (
    (),
    *((name,) for name in QUIRKS),
    ("proxy", "xai"),
    ("codex", "vllm"),
    ("proxy-limit", "azure"),
)
TEXTS = ("hello", "weather in Oslo and Bergen, and the clock", "go on", "the clock")
STORY = "tell me a long story about the many things that happen while two people talk on the telephone"
DEADLINES = trunkline.Deadlines(
    connect=2.0, first_event=0.7, first_output=0.7, between_events=0.7, total=20.0
)
POLICY = trunkline.Policy(max_attempts=6, backoff_s=0.01, max_backoff_s=0.05)
TURN_LIMIT_S = 60.0


async def play(seed: int, number: int, *, steps: int = 30, has_gateway: bool = False) -> Figures:
    """Play one round.

    Args:
        seed: the seed of the soak.
        number: the number of the round. Servers and faults take turns with it.
        steps: how often some of the speakers speak at the same time.
        has_gateway: the client reaches the server by a gateway.
    """
    dice = random.Random(f"{seed}:{number}")
    quirks = SERVERS[number % len(SERVERS)]
    world = World(
        lanes=dice.random() < 0.8,
        has_link=dice.random() < 0.5,
        tokens_per_second=dice.choice((None, 100.0)),
        has_gateway=has_gateway,
        quirks=quirks,
        deadlines=DEADLINES,
        policy=POLICY,
    )
    world.is_forgetful = True
    figures = Figures()
    figures.servers["+".join(quirks) or "openai"] += 1
    await world.open()
    weather = asyncio.create_task(fail_at_random(world.link, random.Random(dice.random()), figures))
    try:
        for _ in range(dice.randint(4, 20)):
            dice.choice((world.talker, world.keeper))()
        for action, details in faults_of(number, dice):
            if action == "one_place" and "xai" in quirks:
                continue  # with one id for all responses, records are found by the ids of items
            world.emulator.faults.add(action, probability=0.01, times=None, **details)
        for _ in range(steps):
            if not world.speakers:
                break
            if dice.random() < 0.05:
                _count_recoveries(world, figures)
                await world.restart()
            speakers = dice.sample(world.speakers, dice.randint(1, len(world.speakers)))
            await asyncio.gather(*(_turn(speaker, dice, figures, f"{seed}:{number}") for speaker in speakers))
    finally:
        weather.cancel()
        await asyncio.gather(weather, return_exceptions=True)
        figures.faults.update(str(fired.action) for fired in world.emulator.faults.fired)
        figures.steers.update(world.steers)
        _count_recoveries(world, figures)
        await world.close()
        forget(world.emulator)
    return figures


def faults_of(number: int, dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """The fault whose turn it is in a round, and some others."""
    first, others = FAULTS[number % len(FAULTS)], dice.sample(FAULTS, dice.randint(0, 5))
    chosen = [first, *(fault for fault in others if fault is not first)]
    if first[0] in NEED_NUMBERS:
        return [fault for fault in chosen if fault[0] != "omit"]
    if any(action == "omit" for action, _ in chosen):
        return [fault for fault in chosen if fault[0] not in NEED_NUMBERS]
    return chosen


def _count_recoveries(world: World, figures: Figures) -> None:
    """Add those of the client, whose counts end with it."""
    figures.recoveries.update({str(c.value): n for c, n in world.client.metrics.recoveries.items()})


async def fail_at_random(link: Link | None, dice: random.Random, figures: Figures) -> None:
    """Faults of the network and of the server as a whole, one after the other, until it is cancelled."""
    while link is not None:
        await asyncio.sleep(dice.uniform(0.1, 1.0))
        fault = dice.choice(NETWORK)
        figures.faults[fault] += 1
        if fault == "silent peer":
            link.fall_silent()
        elif fault == "silent for a while":
            link.fall_silent()
            await asyncio.sleep(dice.uniform(0.1, 1.0))
            link.speak_again()
        elif fault == "half open":
            link.half_open()
        elif fault == "cut":
            link.cut()
        elif fault == "cut on accept":
            link.cuts = True
            link.cut()
            await asyncio.sleep(dice.uniform(0.1, 0.5))
            link.cuts = False
        else:  # a refusal, or a restart, which ends the connections too
            link.refuse()
            if fault == "restart":
                link.cut()
            await asyncio.sleep(dice.uniform(0.2, 1.5))
            await link.accept()


async def _turn(speaker: Speaker, dice: random.Random, figures: Figures, name: str) -> None:
    _disturb(speaker, dice)
    turn = Turn(
        dice.choice((*MODELS, "interim", "reporting")),
        dice.choice((True, False, None)),
        dice.randint(1, 8) if dice.random() < 0.15 else None,
        dice.randint(0, 12) if dice.random() < 0.1 else None,
    )
    speaker.world.arrangement = dice.randint(0, 2)
    text, reports = f"{speaker.token} {dice.choice(TEXTS)}", dice.random() < 0.3
    if isinstance(speaker, Talker) and not speaker.owed and dice.random() < 0.2:
        text = f"{speaker.token} {STORY}"
        turn = Turn("gpt-6-astra", turn.store, turn.leave_after, steer_after=dice.randint(1, 12))
    figures.turns += 1
    try:
        async with asyncio.timeout(TURN_LIMIT_S):
            await speaker.speak(text, turn, reports=reports)
        figures.answered += 1
    except trunkline.TurnError as error:
        figures.errors[type(error).__name__] += 1
    except TimeoutError:
        figures.defects[Defect.LOST] += 1
        tell(f"round {name}, quirks {speaker.world.quirks}: a turn was lost")
    except AssertionError as broken:
        figures.defects[defect_of(broken)] += 1
        where = f"round {name}, quirks {speaker.world.quirks}, lanes {speaker.world.lanes}"
        tell(f"{where}: {broken}")
        # Its history is no longer known.
        speaker.world.speakers[:] = [each for each in speaker.world.speakers if each is not speaker]


def _disturb(speaker: Speaker, dice: random.Random) -> None:
    """Sometimes rewrite the history, as an application may between turns."""
    if dice.random() > 0.1 or not speaker.said:
        return
    cut = dice.randrange(len(speaker.said))
    kept = [item for item in speaker.said[:cut] if "role" in item]
    speaker.rewrite([*kept, user(f"{speaker.token} in other words")])
