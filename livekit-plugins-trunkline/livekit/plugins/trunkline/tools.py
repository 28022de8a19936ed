"""LiveKit's tools as tool definitions of the Responses API.

LiveKit's own `parse_function_tools` makes them. Deriving a schema from a Python function takes milliseconds,
so that of a function tool is derived once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from livekit.agents.llm import FunctionTool, ProviderTool, RawFunctionTool, Tool, ToolContext, Toolset

JSON: TypeAlias = dict[str, Any]

_OPENAI_TOOLS = "livekit.plugins.openai.tools"


class HostedTool(ProviderTool):
    """A tool that the service runs, such as ``HostedTool({"type": "web_search"})``.

    The tools of ``livekit.plugins.openai.tools`` are taken as well.

    Args:
        definition: the tool as the Responses API documents it.
    """

    def __init__(self, definition: JSON) -> None:
        super().__init__(id=f"trunkline_{definition.get('type')}")
        self._definition = dict(definition)

    def to_dict(self) -> JSON:
        """The tool as it is sent."""
        return dict(self._definition)


class Definitions:
    """Tool definitions; those of functions are kept as long as the tools are, and say the same."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Tool, tuple[object, list[JSON]]] = WeakKeyDictionary()

    def of(self, tools: Sequence[Tool | Toolset]) -> list[JSON]:
        """The definitions of these tools, those in toolsets included; functions first, as LiveKit has it."""
        flat = [tool for tool in tools if not isinstance(tool, Toolset)]
        if len(flat) < len(tools):
            flat = ToolContext(tools).flatten()
        flat.sort(key=lambda tool: isinstance(tool, ProviderTool))
        return [made for tool in flat for made in self._of(tool)]

    def _of(self, tool: Tool) -> list[JSON]:
        told: object
        if isinstance(tool, FunctionTool):
            told = tool.info.name, tool.info.description
        elif isinstance(tool, RawFunctionTool):
            told = tool.info.raw_schema
        else:
            return _converted(tool)
        known = self._known.get(tool)
        if known is None or known[0] != told:
            self._known[tool] = known = (deepcopy(told), _converted(tool))
        return known[1]


def _converted(tool: Tool) -> list[JSON]:
    return ToolContext([tool]).parse_function_tools(
        "openai.responses", strict=True, provider_tool_type=_provider_tool_type(tool)
    )


def _provider_tool_type(tool: Tool) -> type[ProviderTool]:
    """The provider tools of the openai plugin are ours too. Whoever has one has loaded that plugin."""
    theirs = getattr(sys.modules.get(_OPENAI_TOOLS), "OpenAITool", None)
    if isinstance(theirs, type) and issubclass(theirs, ProviderTool) and isinstance(tool, theirs):
        return theirs
    return HostedTool
