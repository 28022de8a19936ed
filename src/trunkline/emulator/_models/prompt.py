"""The input of a model: the context and settings of one request."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .._protocol.items import text_of, type_of
from .._protocol.tools import allowed, must_call
from .context import Context, Item, call_id_of

_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_CALLS = ("function_call", "custom_tool_call")


@dataclass(frozen=True, repr=False)
class Prompt:
    """A request as a model sees it.

    Properties search the context from its end, so that they stay cheap in long conversations.
    """

    model: str
    context: Context
    instructions: str | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True
    text_format: dict[str, Any] = field(default_factory=lambda: {"type": "text"})
    end_user: str | None = None
    """The ``safety_identifier`` of the request, or its ``user``."""
    input: list[Item] = field(default_factory=list)
    """The items of this request; the last ones of `context`."""

    @cached_property
    def user_message(self) -> Item | None:
        """The last user message."""
        for item in self.context.newest_first():
            if item.get("role") == "user" and type_of(item) == "message":
                return item
        return None

    @property
    def user_text(self) -> str:
        """The text of the last user message, or an empty string."""
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
        """The tools that ``tool_choice`` allows the model to call."""
        return allowed(self.tools, self.tool_choice)

    @property
    def must_call(self) -> bool:
        """Whether ``tool_choice`` requires a call."""
        return must_call(self.tool_choice)
