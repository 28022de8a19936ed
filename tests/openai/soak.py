"""Random callers of the openai SDK under random faults, for a number of turns or a time.

    python -m tests.openai.soak --turns 100000 --seed 1

Each world is an emulator and a crowd of callers (`crowd`) who share one client; several run at a time. Every
turn must end in a response or in an exception of the SDK. The figures are printed at the end; the exit code
is 1 unless lost, wrong and foreign are all zero.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
from openai import AsyncOpenAI

from trunkline.emulator import Emulator

from .crowd import Crowd, ForeignItemError, WrongContextError
from .received import WrongEventsError
from .talk import JSON, dropin, transport_of

FAULTS: tuple[tuple[str, JSON], ...] = (
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
RETENTIONS: tuple[Any, ...] = (False, False, True, "silent")
TURNS_PER_WORLD = 500
WORLDS = 16
"""The number of worlds that run at the same time: one waits for a retry while others work."""
FAILURES: dict[type, str] = {
    WrongContextError: "wrong",
    WrongEventsError: "wrong",
    ForeignItemError: "foreign",
}
FIGURES = ("turns", "delta", "full", "left", "errors", "lost", "wrong", "foreign")


@dataclass(frozen=True)
class Weather:
    """The settings of a world.

    Attributes:
        zdr: as for `Emulator`.
        lanes: as for `Options`.
        max_retries: the retries of the SDK.
        faults: actions and their details.
        probability: of each fault, at each event or request.
        quirks: the servers as which the emulator deviates.
    """

    zdr: bool | Literal["silent"] = False
    lanes: bool = True
    max_retries: int = 0
    faults: Sequence[tuple[str, JSON]] = ()
    probability: float = 0.002
    quirks: Sequence[str] = ()

    @classmethod
    def random(cls, dice: random.Random) -> Weather:
        return cls(
            zdr=dice.choice(RETENTIONS),
            lanes=dice.random() < 0.8,
            max_retries=dice.choice((0, 0, 2)),
            faults=dice.sample(FAULTS, dice.randint(2, 8)),
        )


@dataclass
class Soak:
    """One run.

    Attributes:
        seed: each world has a seed made of it and its number.
        figures: the numbers of `FIGURES`.
        faults: the faults that occurred.
        errors: the exceptions that callers got.
        recoveries: the recoveries of the drop-in, by their causes.
        failures: the turns that were lost, and the contexts that were wrong or foreign.
    """

    seed: int
    figures: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    recoveries: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self, until: float, turns: int, worlds: int = WORLDS) -> None:
        """Play worlds until the time or the number of turns is reached."""
        numbers = itertools.count()

        async def play() -> None:
            while time.monotonic() < until and (number := next(numbers)) * TURNS_PER_WORLD < turns:
                dice = random.Random(f"{self.seed}:{number}")
                left = min(TURNS_PER_WORLD, turns - number * TURNS_PER_WORLD)
                await self.world(Weather.random(dice), dice, left, until, f"{self.seed}:{number}")
                print(self.line(), file=sys.stderr, flush=True)

        await asyncio.gather(*(play() for _ in range(worlds)))

    async def world(
        self, weather: Weather, dice: random.Random, turns: int, until: float, name: str = ""
    ) -> None:
        """Play one world.

        Args:
            weather: its settings.
            dice: the source of randomness.
            turns: the number of its turns.
            until: the time at which it ends early.
            name: how messages name it.
        """
        async with (
            Emulator(zdr=weather.zdr, quirks=weather.quirks) as emulator,
            dropin(
                emulator,
                of_transport={"lanes": weather.lanes},
                max_retries=weather.max_retries,
                timeout=httpx2.Timeout(5.0, read=1.0),
            ) as client,
        ):
            await self.crowd(emulator, client, weather, dice, turns, until, name)
            recoveries = transport_of(client).metrics.recoveries
            self.recoveries.update({cause.value: count for cause, count in recoveries.items()})

    async def crowd(
        self,
        emulator: Emulator,
        client: AsyncOpenAI,
        weather: Weather,
        dice: random.Random,
        turns: int,
        until: float,
        name: str,
    ) -> None:
        """Let a crowd of callers of one service share a client, with the faults of a weather."""
        for action, details in weather.faults:
            emulator.faults.add(action, probability=weather.probability, times=None, **details)
        crowd = Crowd(emulator, client, dice)
        played = 0
        while played < turns and time.monotonic() < until:
            played += (spoke := await crowd.step())
            self.figures["turns"] += spoke
            if any(isinstance(error, TimeoutError) for error in crowd.failures):
                break
        for error in crowd.failures:
            self._found(FAILURES.get(type(error), "lost"), name, error)
        self.faults.update(str(fired.action) for fired in emulator.faults.fired)
        for outcome, count in crowd.counts.items():
            if outcome in FIGURES:
                self.figures[outcome] += count
            else:
                self.errors[outcome] += count
                self.figures["errors"] += count

    def _found(self, figure: str, name: str, what: object) -> None:
        self.figures[figure] += 1
        self.failures.append(f"{figure} in world {name}: {type(what).__name__} {what}")
        print(self.failures[-1], file=sys.stderr, flush=True)

    def line(self) -> str:
        """All figures on one line."""
        counts = {name: self.figures[name] for name in FIGURES}
        return f"{counts} faults={sum(self.faults.values())} {dict(self.faults)} errors={dict(self.errors)}"

    @property
    def is_clean(self) -> bool:
        """Whether no turn was lost, and no context was wrong or had a foreign item."""
        return not any(self.figures[name] for name in ("lost", "wrong", "foreign"))


def main() -> int:
    """Run and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=60.0)
    arguments.add_argument("--turns", type=int, default=10**9)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments.add_argument("--worlds", type=int, default=WORLDS)
    given = arguments.parse_args()
    soak = Soak(given.seed)
    print(f"seed {given.seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    asyncio.run(soak.run(began + given.minutes * 60, given.turns, given.worlds))
    took_s = time.monotonic() - began
    print(f"seed {given.seed}: {soak.line()}")
    print(f"{soak.figures['turns'] / took_s:.0f} turns/s")
    return 0 if soak.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
