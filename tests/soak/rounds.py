"""Plays rounds in the order of their numbers, several at the same time, and reports ranges that are complete.

A round is a function of the seed and its number, so that each can be played again by itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from .figures import Figures, tell

Play = Callable[[int, int], Awaitable[Figures]]
"""Plays the round of a seed and a number."""
ROUND_LIMIT_S = 900.0
TURNS_OF_A_ROUND = 150
"""The turns of a round, until some have been played."""
AT_ONCE = 4
"""The rounds that begin at one time, before it shows whether the machine can carry them."""
LATE_S = 0.05
"""How late the event loop may be on average: on a busy machine more rounds would only make time-outs."""


class RoundFailed(Exception):
    """The harness failed in a round, or the round did not end."""


@dataclass
class Ended:
    """Rounds that ended, numbered without a gap."""

    first: int
    last: int
    figures: Figures


@dataclass
class Rounds:
    """The rounds of one seed, in progress.

    Args:
        play: plays one round.
        seed: the seed of all rounds.
        first: the number of the first round.
        turns: no round begins once so many turns were played or are expected of the rounds that run.
        until: no round begins after this time of `time.monotonic`; ``None``: no limit.
        worlds: the largest number of rounds at the same time. While the event loop is late they are fewer.
        per_range: the number of rounds after which a range is reported.
        report: called with each complete range.
        limit_s: the time after which a round has failed.
        look_every_s: how often that is checked while no round ends.

    Attributes:
        late_s: how late the event loop is, on average.
    """

    play: Play
    seed: int
    first: int
    turns: int
    until: float | None
    worlds: int
    per_range: int
    report: Callable[[Ended], None]
    limit_s: float = ROUND_LIMIT_S
    look_every_s: float = 1.0
    late_s: float = 0.0
    _ended: dict[int, Figures] = field(default_factory=dict)
    _unhandled: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Play until the turns or the time are reached. Rounds that have begun are played to their end.

        Raises:
            RoundFailed: an exception of the harness, or a round that does not end.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_unhandled)
        punctuality = asyncio.ensure_future(self._measure())
        running: dict[asyncio.Task[Figures], int] = {}
        begun: dict[int, float] = {}
        number, reported, played = self.first, self.first, Figures()
        try:
            while True:
                for _ in range(AT_ONCE):
                    if not self._goes_on(played, number - self.first, len(running)):
                        break
                    task = asyncio.ensure_future(self.play(self.seed, number))
                    running[task], begun[number] = number, time.monotonic()
                    number += 1
                if not running:
                    break
                done, _ = await asyncio.wait(
                    running, timeout=self.look_every_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    ended = running.pop(task)
                    self._ended[ended] = self._of(task, ended)
                    played += self._ended[ended]
                self._check(running, begun)
                while set(range(reported, reported + self.per_range)) <= self._ended.keys():
                    self._report(reported, reported + self.per_range)
                    reported += self.per_range
            if reported < number:
                self._report(reported, number)
        finally:
            punctuality.cancel()
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running, timeout=10)

    def _goes_on(self, played: Figures, begun: int, running: int) -> bool:
        if self.until is not None and time.monotonic() >= self.until:
            return False
        if running >= self.worlds or (running and self.late_s > LATE_S):
            return False
        ended = begun - running
        mean = played.turns / ended if ended else TURNS_OF_A_ROUND
        return played.turns + mean * running < self.turns

    async def _measure(self) -> None:
        """Measure how late the event loop is, as a moving average."""
        while True:
            due = time.monotonic() + 0.05
            await asyncio.sleep(0.05)
            self.late_s += 0.05 * (time.monotonic() - due - self.late_s)

    def _of(self, task: asyncio.Task[Figures], number: int) -> Figures:
        try:
            return task.result()
        except Exception as error:
            traceback.print_exception(error)
            raise RoundFailed(f"round {number} of seed {self.seed} raised {error!r}") from error

    def _check(self, running: dict[asyncio.Task[Figures], int], begun: dict[int, float]) -> None:
        if self._unhandled:
            rounds = sorted(running.values())
            raise RoundFailed(
                f"an exception was not handled while the rounds {rounds} of seed {self.seed} ran: "
                + "; ".join(self._unhandled)
            )
        for task, number in running.items():
            if time.monotonic() - begun[number] > self.limit_s:
                task.print_stack(file=sys.stderr)
                raise RoundFailed(
                    f"round {number} of seed {self.seed} did not end within {self.limit_s:.0f} s"
                )

    def _report(self, first: int, after: int) -> None:
        figures = reduce(add, (self._ended.pop(number) for number in range(first, after)), Figures())
        self.report(Ended(first, after - 1, figures))

    def _on_unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        tell("".join(traceback.format_exception(context.get("exception"))))
        self._unhandled.append(f"{context['message']}: {context.get('exception')!r}")
