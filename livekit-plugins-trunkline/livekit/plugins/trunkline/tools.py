"""Conversion of LiveKit's tools to tool definitions of the Responses API.

LiveKit's `parse_function_tools` creates the definitions. It takes milliseconds for a Python function, so the
definitions of function tools are cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from livekit.agents import APIError
from livekit.agents.llm import FunctionTool, ProviderTool, RawFunctionTool, Tool, ToolContext, Toolset
from livekit.agents.llm.utils import build_strict_openai_schema

JSON: TypeAlias = dict[str, Any]


class HostedTool(ProviderTool):
    """A tool that the service runs, such as ``HostedTool({"type": "web_search"})``.

    The provider tools of other plugins (``openai.tools``, ``xai.tools``) are accepted too.

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
    """Tool definitions, cached for function tools while the tool exists and is unchanged.

    Args:
        strict: whether the schemas of Python functions are strict; None: not mentioned in the definition.
    """

    def __init__(self, *, strict: bool | None = None) -> None:
        self._strict = strict
        self._known: WeakKeyDictionary[Tool, tuple[object, list[JSON]]] = WeakKeyDictionary()

    def of(self, tools: Sequence[Tool | Toolset]) -> list[JSON]:
        """The definitions of tools and toolsets; functions first, as in LiveKit's plugins.

        Raises:
            APIError: a tool has no definition for the Responses API.
        """
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
            return [_hosted(tool)]
        known = self._known.get(tool)
        if known is None or known[0] != told:
            self._known[tool] = known = (deepcopy(told), self._converted(tool))
        return known[1]

    def _converted(self, tool: FunctionTool[..., Any] | RawFunctionTool[..., Any]) -> list[JSON]:
        if self._strict is True and isinstance(tool, FunctionTool):
            return [{"type": "function", **build_strict_openai_schema(tool)["function"]}]
        made = ToolContext([tool]).parse_function_tools("openai.responses")
        if self._strict is False and isinstance(tool, FunctionTool):
            made = [{**definition, "strict": False} for definition in made]
        return made


def _hosted(tool: Tool) -> JSON:
    """The definition of a tool that the service runs, of whichever plugin it is."""
    to_dict = getattr(tool, "to_dict", None)
    definition = to_dict() if callable(to_dict) else None
    if not isinstance(definition, Mapping) or not isinstance(definition.get("type"), str):
        kind = f"{type(tool).__module__}.{type(tool).__qualname__}"
        raise APIError(
            f"the tool {tool.id!r} ({kind}) has no definition for the Responses API; "
            "give trunkline.HostedTool({'type': …}) instead",
            retryable=False,
        )
    return dict(definition)
