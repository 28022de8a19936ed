"""Random conversations under random faults, for a given time.

    python -m tests.promise.soak --minutes 10 --seed 1

The speakers of `world` share one client. The emulator deviates as one of `SERVERS`, and injects every kind of
fault at random; in half of the rounds the link to it fails too. Every turn must end in a response or in a
typed error. The events of a turn must belong to one response. The model's context must equal the speaker's
history. The figures are printed at the end; the exit code is 1 unless lost, doubled and mixed are all zero.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from typing import Any

import trunkline
from trunkline.emulator import QUIRKS

from ..networks.link import Link
from ..talk import user
from .world import MODELS, Speaker, Turn, World

FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("refuse_upgrade", {"status": 503}),
    ("refuse_upgrade", {"status": 429, "headers": {"retry-after": "0"}}),
    ("reject", {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after": "0"}}),
    ("reject", {"status": 500, "code": "server_error"}),
    ("forget", {}),
    ("drop", {}),
    ("reset", {}),
    ("close", {"close_code": 1011}),
    ("stall", {}),
    ("delay", {"seconds": 0.02}),
    ("truncate", {}),
    ("corrupt", {}),
    ("duplicate", {}),
    ("reorder", {}),
    ("fragment", {}),
    ("unknown_event", {}),
    ("unknown_field", {}),
    ("flat_error", {"status": 500}),
    ("fail", {"status": 503}),
    ("connection_limit", {}),
)
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
DEADLINES = trunkline.Deadlines(
    connect=2.0, first_event=0.5, first_output=0.5, between_events=0.5, total=20.0
)
POLICY = trunkline.Policy(max_attempts=6, backoff_s=0.01, max_backoff_s=0.05)


class Soak:
    """One run: a world per round, each with its own seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.figures: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.recoveries: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    async def run(self, until: float, max_turns: int) -> None:
        """Play rounds until the time or the number of turns is reached."""
        rounds = 0
        while time.monotonic() < until and self.figures["turns"] < max_turns:
            await self._round(random.Random(f"{self.seed}:{rounds}"), until)
            rounds += 1
            if rounds % 5 == 0:
                print(self.line(), file=sys.stderr, flush=True)

    async def _round(self, dice: random.Random, until: float) -> None:
        world = World(
            lanes=dice.random() < 0.8,
            has_link=dice.random() < 0.5,
            quirks=dice.choice(SERVERS),
            deadlines=DEADLINES,
            policy=POLICY,
        )
        world.is_forgetful = True
        await world.open()
        weather = asyncio.create_task(self._network(world.link, random.Random(dice.random())))
        try:
            for _ in range(dice.randint(4, 20)):
                dice.choice((world.talker, world.keeper))()
            for action, details in dice.sample(FAULTS, dice.randint(1, 6)):
                world.emulator.faults.add(action, probability=0.01, times=None, **details)
            for _ in range(30):
                if time.monotonic() > until:
                    break
                if dice.random() < 0.05:
                    self._count_recoveries(world)
                    await world.restart()
                speakers = dice.sample(world.speakers, dice.randint(1, len(world.speakers)))
                await asyncio.gather(*(self._turn(speaker, dice) for speaker in speakers))
        finally:
            weather.cancel()
            await asyncio.gather(weather, return_exceptions=True)
            self.faults.update(str(fired.action) for fired in world.emulator.faults.fired)
            self._count_recoveries(world)
            await world.close()

    def _count_recoveries(self, world: World) -> None:
        self.recoveries.update({str(c.value): n for c, n in world.client.metrics.recoveries.items()})

    async def _network(self, link: Link | None, dice: random.Random) -> None:
        """Faults of the network and of the server as a whole, one after the other."""
        while link is not None:
            await asyncio.sleep(dice.uniform(0.1, 1.0))
            fault = dice.choice(NETWORK)
            self.faults[fault] += 1
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

    async def _turn(self, speaker: Speaker, dice: random.Random) -> None:
        self._disturb(speaker, dice)
        turn = Turn(
            dice.choice((*MODELS, "interim", "reporting")),
            dice.choice((True, False, None)),
            dice.randint(1, 8) if dice.random() < 0.15 else None,
            dice.randint(0, 12) if dice.random() < 0.1 else None,
        )
        speaker.world.arrangement = dice.randint(0, 2)
        self.figures["turns"] += 1
        try:
            async with asyncio.timeout(60):
                await speaker.speak(
                    f"{speaker.token} {dice.choice(TEXTS)}", turn, reports=dice.random() < 0.3
                )
            self.figures["answered or left"] += 1
        except trunkline.TurnError as error:
            self.errors[type(error).__name__] += 1
        except TimeoutError:
            self.figures["lost"] += 1
        except AssertionError as broken:
            kind = "mixed" if "another speaker" in str(broken) else "doubled"
            self.figures[kind] += 1
            where = f"seed {self.seed}, quirks {speaker.world.quirks}, lanes {speaker.world.lanes}"
            print(f"{where}: {broken}", file=sys.stderr, flush=True)

    def _disturb(self, speaker: Speaker, dice: random.Random) -> None:
        """Sometimes rewrite the history, as an application may between turns."""
        if dice.random() > 0.1 or not speaker.said:
            return
        cut = dice.randrange(len(speaker.said))
        kept = [item for item in speaker.said[:cut] if "role" in item]
        speaker.rewrite([*kept, user(f"{speaker.token} in other words")])

    def line(self) -> str:
        """All figures on one line."""
        counts = {
            name: self.figures[name] for name in ("turns", "answered or left", "lost", "doubled", "mixed")
        }
        return (
            f"{counts} faults={sum(self.faults.values())} {dict(self.faults)} "
            f"recoveries={dict(self.recoveries)} errors={dict(self.errors)}"
        )

    @property
    def is_clean(self) -> bool:
        """Whether no turn was lost, doubled or mixed."""
        return not any(self.figures[name] for name in ("lost", "doubled", "mixed"))


def main() -> int:
    """Run and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--turns", type=int, default=10**9)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    given = arguments.parse_args()
    soak = Soak(given.seed)
    print(f"seed {given.seed}", file=sys.stderr, flush=True)
    asyncio.run(soak.run(time.monotonic() + given.minutes * 60, given.turns))
    print(f"seed {given.seed}: {soak.line()}")
    return 0 if soak.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
