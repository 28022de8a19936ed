"""Worlds of the drop-in: an emulator with faults, and a crowd of callers (`crowd`) who share one client.

Every turn must end in a response or in an exception of the SDK. `tests.soak` plays many worlds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
from openai import AsyncOpenAI

from trunkline._face.pools import pools
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
FAILURES: dict[type, str] = {
    WrongContextError: "wrong",
    WrongEventsError: "wrong",
    ForeignItemError: "foreign",
}
FIGURES = ("turns", "delta", "full", "left", "errors", "lost", "wrong", "foreign")


def forget(emulator: Emulator) -> None:
    """Drop what this process remembers of an emulator that has ended.

    The drop-in keeps what it knows of a server for hours. Many worlds in one process would look like a leak.
    """
    known = pools()._of_loop().memories._by_key
    for key in [key for key in known if emulator.base_url in str(key)]:
        del known[key]


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
class World:
    """One world, and what was found in it.

    Attributes:
        name: how messages name it.
        weather: its settings.
        dice: its source of randomness.
        figures: the numbers of `FIGURES`.
        faults: the faults that occurred.
        errors: the exceptions that callers got.
        recoveries: the recoveries of the drop-in, by their causes.
        failures: the turns that were lost, and the contexts that were wrong or foreign.
    """

    name: str
    weather: Weather
    dice: random.Random
    figures: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    recoveries: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def play(self, turns: int) -> None:
        """Play this number of turns through the drop-in."""
        weather = self.weather
        async with (
            Emulator(zdr=weather.zdr, quirks=weather.quirks) as emulator,
            dropin(
                emulator,
                of_transport={"lanes": weather.lanes},
                max_retries=weather.max_retries,
                timeout=httpx2.Timeout(5.0, read=1.0),
            ) as client,
        ):
            await self.crowd(emulator, client, turns)
            recoveries = transport_of(client).metrics.recoveries
            self.recoveries.update({cause.value: count for cause, count in recoveries.items()})
        forget(emulator)

    async def crowd(self, emulator: Emulator, client: AsyncOpenAI, turns: int) -> None:
        """Let a crowd of callers of one service share a client, with the faults of the weather."""
        for action, details in self.weather.faults:
            emulator.faults.add(action, probability=self.weather.probability, times=None, **details)
        crowd = Crowd(emulator, client, self.dice)
        played = 0
        while played < turns:
            played += (spoke := await crowd.step())
            self.figures["turns"] += spoke
            if any(isinstance(error, TimeoutError) for error in crowd.failures):
                break
        for error in crowd.failures:
            self._found(FAILURES.get(type(error), "lost"), error)
        self.faults.update(str(fired.action) for fired in emulator.faults.fired)
        for outcome, count in crowd.counts.items():
            if outcome in FIGURES:
                self.figures[outcome] += count
            else:
                self.errors[outcome] += count
                self.figures["errors"] += count

    def _found(self, figure: str, what: object) -> None:
        self.figures[figure] += 1
        self.failures.append(f"{figure} in world {self.name}: {type(what).__name__} {what}")

    def line(self) -> str:
        """All figures on one line."""
        counts = {name: self.figures[name] for name in FIGURES}
        return f"{counts} faults={sum(self.faults.values())} {dict(self.faults)} errors={dict(self.errors)}"

    @property
    def is_clean(self) -> bool:
        """Whether no turn was lost, and no context was wrong or had a foreign item."""
        return not any(self.figures[name] for name in ("lost", "wrong", "foreign"))
