"""Steps of a model; each becomes an output item and its events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_DELTAS = re.compile(r"\s*\S+|\s+")


def words(text: str) -> list[str]:
    """Split a text into deltas of one word each; joined, they equal the text."""
    return _DELTAS.findall(text)


@dataclass(frozen=True, slots=True)
class Say:
    """An assistant message, as deltas."""

    deltas: Iterable[str] = field(repr=False)
    phase: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """An assistant message that is a refusal."""

    deltas: Iterable[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reason:
    """Reasoning with a summary."""

    deltas: Iterable[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function tool (`arguments` is JSON) or of a custom tool (`arguments` is its input)."""

    name: str
    arguments: str = field(repr=False)
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Hosted:
    """A call of a hosted tool, with its result; or the list of tools of an MCP server.

    Attributes:
        type: ``web_search_call``, ``mcp_list_tools``, ``mcp_call`` or ``code_interpreter_call``.
        fields: the fields of the item, without id, type and status.
    """

    type: str
    fields: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fail:
    """Failure of the response, after part of a message if `deltas` is given."""

    code: str
    message: str = field(repr=False)
    deltas: Iterable[str] = field(default=(), repr=False)
    """Deltas of an unfinished message sent before the failure."""


@dataclass(frozen=True, slots=True)
class Compact:
    """Compaction of the context into the given output item."""

    item: dict[str, Any] = field(repr=False)


Step = Compact | Say | Refuse | Reason | Call | Hosted | Fail
