"""Conversion of LiveKit's tools to tool definitions of the Responses API.

LiveKit's `parse_function_tools` creates the definitions. It takes milliseconds for a Python function, so the
definitions of function tools are cached.
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

    The tools of ``livekit.plugins.openai.tools`` are accepted too.

    Args:
        definition: the tool as the Responses API documents it.
    """

    def __init__(self, definition: JSON) -> None:
        super().__init__(id=f"trunkline_{definition.get('type')}")
        self._definition = dict(definition)

    def to_dict(self) -> JSON:
        """The tool's definition, as sent."""
        return dict(self._definition)


class Definitions:
    """Tool definitions, cached for function tools while the tool exists and is unchanged."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Tool, tuple[object, list[JSON]]] = WeakKeyDictionary()

    def of(self, tools: Sequence[Tool | Toolset]) -> list[JSON]:
        """The definitions of tools and toolsets; functions first, as in LiveKit's plugins."""
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
    """The base class of a provider tool; ones of the openai plugin exist only if that plugin is loaded."""
    theirs = getattr(sys.modules.get(_OPENAI_TOOLS), "OpenAITool", None)
    if isinstance(theirs, type) and issubclass(theirs, ProviderTool) and isinstance(tool, theirs):
        return theirs
    return HostedTool
