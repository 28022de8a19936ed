"""What a model does, step by step: the script that becomes output items and events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_DELTAS = re.compile(r"\s*\S+|\s+")


def words(text: str) -> list[str]:
    """Cut a text into deltas, a word each, so that joined they are the text."""
    return _DELTAS.findall(text)


@dataclass(frozen=True, slots=True)
class Say:
    """An assistant message, delta by delta."""

    deltas: Iterable[str]
    phase: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """An assistant message that is a refusal."""

    deltas: Iterable[str]


@dataclass(frozen=True, slots=True)
class Reason:
    """Reasoning, shown as a summary."""

    deltas: Iterable[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function tool (`arguments` is JSON) or of a custom tool (`arguments` is its input)."""

    name: str
    arguments: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The response ends as failed, perhaps in the middle of a message."""

    code: str
    message: str
    deltas: Iterable[str] = ()
    """What is said before it happens."""


@dataclass(frozen=True, slots=True)
class Compact:
    """The context is compacted: an item that stands for it is put out."""

    item: dict[str, Any]


Step = Compact | Say | Refuse | Reason | Call | Fail
