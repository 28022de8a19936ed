"""Reasoning that the service removed from the context of a response: counts, and a warning.

The service drops earlier reasoning when its model, its end user, its organization or the prefix before it has
changed, and reports each item in ``input_transformations``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .metrics import PoolCounters

WARNING_INTERVAL_S: Final = 60.0
"""Removals are counted always, and reported at most once within this time."""

_logger = logging.getLogger("trunkline")


class Removals:
    """The removals of a client.

    Args:
        counters: where they are counted.
        clock: returns seconds.
    """

    __slots__ = ("_clock", "_counters", "_unreported", "_warned_at")

    def __init__(self, counters: PoolCounters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._unreported: Counter[str] = Counter()
        self._warned_at: float | None = None

    def note(self, transformations: Sequence[Mapping[str, Any]]) -> None:
        """Count the removals of one response, and log one WARNING for all since the last one."""
        if not transformations:
            return
        reasons = Counter(str(each.get("reason")) for each in transformations)
        self._counters.add_removals(reasons)
        self._unreported += reasons
        now = self._clock()
        if self._warned_at is not None and now - self._warned_at < WARNING_INTERVAL_S:
            return
        self._warned_at = now
        number = self._unreported.total()
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(self._unreported.items()))
        self._unreported.clear()
        _logger.warning(
            "the service removed %d reasoning %s from the context (%s); to keep reasoning, do not change"
            " earlier items, tools, format, effort, model or end user within a conversation",
            number,
            "item" if number == 1 else "items",
            told,
        )
