"""What a model is asked: the context and the settings of one request."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .._protocol.items import text_of, type_of
from .._protocol.tools import allowed, must_call
from .context import Context, Item, call_id_of

_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_CALLS = ("function_call", "custom_tool_call")


@dataclass(frozen=True)
class Prompt:
    """The view a model has of a request. It looks from the end, so that a turn costs what is new."""

    model: str
    context: Context
    instructions: str | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True
    text_format: dict[str, Any] = field(default_factory=lambda: {"type": "text"})
    input: list[Item] = field(default_factory=list)
    """The items that came in this request, the last of `context`."""

    @cached_property
    def user_message(self) -> Item | None:
        """The last user message."""
        for item in self.context.newest_first():
            if item.get("role") == "user" and type_of(item) == "message":
                return item
        return None

    @property
    def user_text(self) -> str:
        """The text of the last user message, or nothing."""
        return text_of(self.user_message) if self.user_message else ""

    @cached_property
    def outputs(self) -> list[tuple[str, str]]:
        """Name and text of every tool output since the last user message, oldest first."""
        outputs: list[Item] = []
        names: dict[str, str] = {}
        for item in self.context.newest_first():
            name = type_of(item)
            if name in _OUTPUTS:
                outputs.append(item)
            elif name in _CALLS:
                names[call_id_of(item)] = item["name"]
            elif item is self.user_message:
                break
        return [(names.get(call_id_of(item), "tool"), text_of(item)) for item in reversed(outputs)]

    @property
    def callable_tools(self) -> list[dict[str, Any]]:
        """The tools that the model may call, after ``tool_choice``."""
        return allowed(self.tools, self.tool_choice)

    @property
    def must_call(self) -> bool:
        """Whether ``tool_choice`` demands a call."""
        return must_call(self.tool_choice)
