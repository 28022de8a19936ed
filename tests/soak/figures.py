"""What happened in some rounds, as counts that add up."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

_COUNTED: Final = ("errors", "faults", "recoveries", "servers", "steers")


class Defect(StrEnum):
    """What must never happen."""

    LOST = "lost"
    """A turn did not end within its time."""
    DOUBLED = "doubled"
    """The context or the stream has something twice."""
    MIXED = "mixed"
    """The context has something of another conversation."""
    WRONG = "wrong"
    """The context differs from the history of the application in another way."""


def tell(text: str) -> None:
    """Print a defect at once."""
    print(text, file=sys.stderr, flush=True)


def defect_of(broken: AssertionError) -> Defect:
    """The kind of defect that a check of a turn found, from its message."""
    text = str(broken)
    if "another" in text:
        return Defect.MIXED
    if "second response" in text or "twice" in text:
        return Defect.DOUBLED
    return Defect.WRONG


@dataclass
class Figures:
    """Counts of some rounds.

    Attributes:
        turns: the turns that were begun.
        answered: those whose response, or the part of it that was read, was checked.
        defects: the turns with each defect.
        errors: the turns that ended in an error, by its class.
        faults: the faults that were applied, by their names.
        recoveries: the recoveries of the client, by their causes.
        servers: the rounds with each combination of quirks.
        steers: the steers, by their outcome.
    """

    turns: int = 0
    answered: int = 0
    defects: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    steers: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Figures) -> Figures:
        """The counts of both."""
        return Figures(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        )

    @property
    def is_clean(self) -> bool:
        """Whether no turn has a defect."""
        return not self.defects.total()

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON, with a zero for each kind of defect that did not happen."""
        defects = {str(kind): self.defects[kind] for kind in Defect}
        counts = {name: dict(sorted(getattr(self, name).items())) for name in _COUNTED}
        return {"turns": self.turns, "answered": self.answered, **defects, **counts}

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Figures:
        """The counts that `as_json` wrote."""
        defects = Counter({str(kind): value[kind] for kind in Defect if value[kind]})
        counted = {name: Counter(value.get(name, {})) for name in _COUNTED}  # older records have no steers
        return cls(value["turns"], value["answered"], defects, **counted)
