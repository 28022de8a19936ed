"""Items of hosted tools: their fields at the beginning, and the events until their end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, repr=False)
class Shape:
    """How an item of a hosted tool arrives.

    Attributes:
        prefix: the beginning of its id.
        begun: the fields that have another value when the item is added.
        before: the phases before the text, each an event.
        text: the field that arrives as deltas; ``None`` for none.
        after: the phases after the text.
    """

    prefix: str
    begun: dict[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ("in_progress",)
    text: str | None = None
    after: tuple[str, ...] = ("completed",)


_RUNNING: Final = {"status": "in_progress"}

SHAPES: Final = {
    "web_search_call": Shape("ws", _RUNNING, after=("searching", "completed")),
    "mcp_list_tools": Shape("mcpl", {"tools": []}),
    "mcp_call": Shape("mcp", _RUNNING | {"arguments": "", "output": None}, text="arguments"),
    "code_interpreter_call": Shape(
        "ci", _RUNNING | {"code": "", "outputs": None}, text="code", after=("interpreting", "completed")
    ),
}
"""The shapes by the type of the item."""
