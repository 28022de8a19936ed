"""The tools of a conversation: Python functions and definitions, in the order of the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, TypeAlias, Union

from ..errors import ConfigurationError
from .failure import OnToolError, error_text, logger
from .function_tool import FunctionTool
from .threads import ToolThreads

Tool: TypeAlias = Union[Callable[..., Any], Mapping[str, Any], FunctionTool]  # noqa: UP007 - a name at run time
"""An element of ``tools=[…]``: a Python function, a definition of the API, or a ``FunctionTool``."""


@dataclass(frozen=True, eq=False)
class Toolbox:
    """The tools of a conversation.

    Attributes:
        definitions: the definitions of all tools for the wire, in order; given dicts are unchanged.
        names: the names by which functions and custom tools are called.
    """

    definitions: list[dict[str, Any]] = field(repr=False)  # those of MCP servers hold keys
    names: frozenset[str]
    _functions: dict[str, FunctionTool]

    @classmethod
    def of(cls, tools: Sequence[Tool]) -> Toolbox:
        """The toolbox of a list of Python functions and definitions.

        Raises:
            ConfigurationError: one of them cannot be a tool, or two have the same name.
        """
        if isinstance(tools, str) or not isinstance(tools, Sequence):
            raise ConfigurationError(f"tools must be a list, not {type(tools).__name__}", argument="tools")
        definitions: list[dict[str, Any]] = []
        functions: dict[str, FunctionTool] = {}
        names: set[str] = set()
        for index, given in enumerate(tools):
            function = None if isinstance(given, Mapping) else _function_tool(given, index)
            definition = function.definition if function else _checked(given, index)
            definitions.append(definition)
            if definition["type"] not in ("function", "custom"):
                continue
            name = definition["name"]
            if name in names:
                raise _fault(
                    index,
                    f"has the name of another tool, {name!r}; rename one, as with trunkline.tool(name=…)",
                )
            names.add(name)
            if function:
                functions[name] = function
        return cls(definitions, frozenset(names), functions)

    def get(self, name: str) -> FunctionTool | None:
        """The Python function of this name; ``None`` if no tool with this name is a function."""
        return self._functions.get(name)

    async def call(
        self,
        name: str,
        arguments: str,
        *,
        timeout_s: float,
        on_error: OnToolError | None = None,
        threads: ToolThreads | None = None,
    ) -> str:
        """Call the function of this name, as `FunctionTool.call` does.

        If no function has the name, the result is an error: the model invented the name.
        """
        function = self.get(name)
        if function is None:
            logger.info("the model called a tool that does not exist")
            return error_text("there is no tool of this name")
        return await function.call(arguments, timeout_s=timeout_s, on_error=on_error, threads=threads)


def _function_tool(given: object, index: int) -> FunctionTool:
    if isinstance(given, FunctionTool):
        return given
    if not callable(given):
        raise _fault(index, f"must be a function or a tool definition (a dict), not {type(given).__name__}")
    return FunctionTool.shared(given) if isinstance(given, FunctionType) else FunctionTool.of(given)


def _checked(given: Any, index: int) -> dict[str, Any]:
    kind = given.get("type")
    if not isinstance(kind, str):
        raise _fault(index, 'needs a type, such as "function"')
    if kind in ("function", "custom") and not (isinstance(given.get("name"), str) and given["name"]):
        raise _fault(index, f"is of type {kind!r} and needs a name beside the type")
    return given if isinstance(given, dict) else dict(given)


def _fault(index: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"tools[{index}] {what}", argument="tools")
