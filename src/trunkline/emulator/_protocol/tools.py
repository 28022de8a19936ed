"""Tools and text formats: checks of their declarations, and the form of tools in responses."""

from __future__ import annotations

from typing import Any

from .schema import Check, anything, array, boolean, choice, fields, nullable, string, tagged

_NAME = string(min_length=1, max_length=128, pattern=r"[a-zA-Z0-9_-]+")
_TEXT = string()
_TYPE = {"type": _TEXT}
_SHARED = {
    "description": nullable(_TEXT),
    "allowed_callers": nullable(array(choice("direct", "programmatic"))),
    "async": nullable(boolean),
    "defer_loading": nullable(boolean),
}


def _loose(**required: Check) -> Check:
    return fields(_TYPE | required, open_ended=True)


TOOLS: dict[str, Check] = {
    "function": fields(
        _TYPE | {"name": _NAME},
        _SHARED
        | {
            "parameters": nullable(fields(open_ended=True)),
            "strict": nullable(boolean),
            "output_schema": nullable(fields(open_ended=True)),
        },
    ),
    "custom": fields(_TYPE | {"name": _NAME}, _SHARED | {"format": nullable(fields(_TYPE, open_ended=True))}),
    "mcp": _loose(server_label=_TEXT),
    "code_interpreter": _loose(container=anything),
    "file_search": _loose(vector_store_ids=array(_TEXT)),
    "namespace": _loose(name=_TEXT, tools=array(fields(open_ended=True))),
} | {
    name: _loose()
    for name in (
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "image_generation",
        "local_shell",
        "shell",
        "apply_patch",
        "computer",
        "computer_use_preview",
        "tool_search",
        "programmatic_tool_calling",
    )
}
TOOL = tagged(TOOLS)

FORMATS: dict[str, Check] = {
    "text": fields({"type": _TEXT}),
    "json_object": fields({"type": _TEXT}),
    "json_schema": fields(
        {
            "type": _TEXT,
            "name": string(min_length=1, max_length=64, pattern=r"[a-zA-Z0-9_-]+"),
            "schema": fields(open_ended=True),
        },
        {"strict": nullable(boolean), "description": nullable(_TEXT)},
    ),
}
"""Checks of ``text.format``, by type."""

_CHOICES = {
    "function": fields(_TYPE | {"name": _NAME}),
    "custom": fields(_TYPE | {"name": _NAME}),
    "mcp": fields(_TYPE | {"server_label": _TEXT}, {"name": nullable(_TEXT)}),
    "allowed_tools": fields(_TYPE | {"mode": choice("auto", "required"), "tools": array(_loose())}),
} | {
    name: fields(_TYPE)
    for name in (
        "file_search",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "computer",
        "computer_use",
        "computer_use_preview",
        "image_generation",
        "code_interpreter",
        "apply_patch",
        "shell",
        "programmatic_tool_calling",
    )
}
_CHOICE_OBJECT = tagged(_CHOICES)
_CHOICE_WORD = choice("none", "auto", "required")


def tool_choice(value: Any, path: str) -> None:
    """Check ``tool_choice``."""
    if isinstance(value, dict):
        _CHOICE_OBJECT(value, path)
    else:
        _CHOICE_WORD(value, path)


def shown(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool in a response resource, with the service's defaults."""
    if tool["type"] == "function":
        return {"description": None, "parameters": None, "strict": True} | tool
    if tool["type"] == "custom":
        return {"description": None, "format": {"type": "text"}} | tool
    return tool


def allowed(tools: list[dict[str, Any]], chosen: Any) -> list[dict[str, Any]]:
    """The callable tools that a ``tool_choice`` allows."""
    callable_tools = [tool for tool in tools if tool["type"] in ("function", "custom")]
    if chosen == "none":
        return []
    if not isinstance(chosen, dict):
        return callable_tools
    if chosen["type"] == "allowed_tools":
        names = {tool.get("name") for tool in chosen["tools"]}
        return [tool for tool in callable_tools if tool["name"] in names]
    return [tool for tool in callable_tools if tool["name"] == chosen.get("name")]


def async_names(tools: list[dict[str, Any]]) -> set[str]:
    """The names of the tools with ``async: true``, in namespaces too."""
    nested = [inner for tool in tools for inner in tool.get("tools") or []]
    names = {tool["name"] for tool in tools if tool.get("async") is True and "name" in tool}
    return names | async_names(nested) if nested else names


def must_call(chosen: Any) -> bool:
    """Whether a ``tool_choice`` requires a tool call."""
    if isinstance(chosen, dict):
        return chosen["type"] in ("function", "custom") or chosen.get("mode") == "required"
    return bool(chosen == "required")
