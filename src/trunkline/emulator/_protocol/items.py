"""Checks of input items."""

from __future__ import annotations

from typing import Any

from .errors import ApiError
from .schema import (
    Check,
    anything,
    array,
    boolean,
    by_type,
    choice,
    fields,
    missing,
    nullable,
    string,
    tagged,
    unsupported_value,
    wrong_type,
)
from .tools import FORMATS, TOOL

TEXT = string()
ID = nullable(string(min_length=1))
CALL_ID = string(min_length=1, max_length=64)
STATUS = choice("in_progress", "completed", "incomplete")
PHASE = choice("commentary", "final_answer")

_BREAKPOINT = {"prompt_cache_breakpoint": nullable(fields(open_ended=True))}
_TYPE = {"type": TEXT}

CONTENT: dict[str, Check] = {
    "input_text": fields(_TYPE | {"text": TEXT}, _BREAKPOINT),
    "input_image": fields(
        _TYPE,
        _BREAKPOINT
        | {
            "detail": choice("low", "high", "auto", "original"),
            "image_url": nullable(string(min_length=1)),
            "file_id": nullable(string(min_length=1)),
        },
    ),
    "input_file": fields(
        _TYPE,
        _BREAKPOINT
        | {
            "detail": choice("low", "high", "auto"),
            "file_data": nullable(TEXT),
            "file_id": nullable(TEXT),
            "file_url": nullable(TEXT),
            "filename": nullable(TEXT),
        },
    ),
}
_ASSISTANT_CONTENT: dict[str, Check] = {
    "output_text": fields(
        _TYPE | {"text": TEXT}, {"annotations": array(anything), "logprobs": nullable(array(anything))}
    ),
    "refusal": fields(_TYPE | {"refusal": TEXT}),
}


def _content(parts: dict[str, Check]) -> Check:
    return by_type(
        "one of an array of objects or a string", str=TEXT, list=array(tagged(parts), of_what="objects")
    )


_MESSAGE: dict[str, Check] = {"type": TEXT, "id": ID, "status": STATUS, "phase": PHASE}
_ROLES: dict[str, Check] = {
    role: fields({"role": TEXT, "content": _content(CONTENT)}, _MESSAGE)
    for role in ("user", "system", "developer")
} | {"assistant": fields({"role": TEXT, "content": _content(_ASSISTANT_CONTENT)}, _MESSAGE)}

OUTPUT = _content(CONTENT)
_CALLER = {"caller": nullable(anything), "async": nullable(boolean), "namespace": nullable(TEXT)}


def _loose(**required: Check) -> Check:
    """Check of a type whose optional fields are not checked."""
    return fields(_TYPE | required, open_ended=True)


ITEMS: dict[str, Check] = {
    "message": tagged(_ROLES, tag="role"),
    "function_call": fields(
        _TYPE | {"call_id": CALL_ID, "name": string(min_length=1), "arguments": TEXT},
        _CALLER | {"id": ID, "status": STATUS},
    ),
    "function_call_output": fields(
        _TYPE | {"output": OUTPUT},
        _CALLER | {"call_id": nullable(CALL_ID), "id": ID, "status": STATUS, "name": nullable(TEXT)},
    ),
    "custom_tool_call": fields(
        _TYPE | {"call_id": CALL_ID, "name": string(min_length=1), "input": TEXT},
        _CALLER | {"id": ID, "status": STATUS},
    ),
    "custom_tool_call_output": fields(
        _TYPE | {"call_id": CALL_ID, "output": OUTPUT}, _CALLER | {"id": ID, "status": STATUS}
    ),
    "reasoning": fields(
        _TYPE | {"summary": array(fields(_TYPE | {"text": TEXT}), of_what="objects")},
        {
            "id": ID,
            "encrypted_content": nullable(TEXT),
            "content": nullable(array(fields(_TYPE | {"text": TEXT}), of_what="objects")),
            "status": STATUS,
        },
    ),
    "item_reference": fields({"id": string(min_length=1)}, {"type": nullable(TEXT)}),
    "compaction": fields(_TYPE | {"encrypted_content": TEXT}, {"id": ID, "created_by": nullable(TEXT)}),
    "computer_call": _loose(call_id=CALL_ID),
    "computer_call_output": _loose(call_id=CALL_ID, output=fields(open_ended=True)),
    "local_shell_call": _loose(id=TEXT, call_id=CALL_ID, action=fields(open_ended=True)),
    "local_shell_call_output": _loose(id=TEXT, output=TEXT),
    "shell_call": _loose(call_id=CALL_ID, action=fields(open_ended=True)),
    "shell_call_output": _loose(call_id=CALL_ID, output=array(fields(open_ended=True))),
    "apply_patch_call": _loose(call_id=CALL_ID, operation=fields(open_ended=True)),
    "apply_patch_call_output": _loose(call_id=CALL_ID, status=choice("completed", "failed")),
    "tool_search_call": _loose(arguments=anything),
    "tool_search_output": _loose(tools=array(anything)),
    "mcp_list_tools": _loose(id=TEXT, server_label=TEXT, tools=array(anything)),
    "mcp_approval_request": _loose(id=TEXT, server_label=TEXT, name=TEXT, arguments=TEXT),
    "mcp_approval_response": _loose(approval_request_id=TEXT, approve=boolean),
    "mcp_call": _loose(id=TEXT, server_label=TEXT, name=TEXT, arguments=TEXT),
    "file_search_call": _loose(id=TEXT, queries=array(TEXT)),
    "web_search_call": _loose(id=TEXT),
    "image_generation_call": _loose(id=TEXT),
    "code_interpreter_call": _loose(id=TEXT),
    "additional_tools": _loose(role=choice("developer"), tools=array(TOOL, of_what="objects")),
    "configuration_update": fields(
        _TYPE,
        {
            "id": ID,
            "reasoning": nullable(fields(optional={"effort": nullable(TEXT)})),
            "text": nullable(fields({"format": tagged(FORMATS)})),
        },
    ),
    "compaction_trigger": _loose(),
    "program": _loose(id=TEXT, call_id=TEXT, code=TEXT),
    "program_output": _loose(id=TEXT, call_id=TEXT, result=TEXT),
}

_ID_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs", "custom_tool_call": "ctc"}


def type_of(item: dict[str, Any]) -> str | None:
    """An item's type, also if it is omitted, as messages and references may."""
    declared = item.get("type")
    if isinstance(declared, str):
        return declared
    if "role" in item:
        return "message"
    return "item_reference" if set(item) <= {"id", "type"} and "id" in item else None


def check_item(item: Any, path: str) -> None:
    """Check one input item."""
    if not isinstance(item, dict):
        raise wrong_type(path, "an object", item)
    if item.get("type") is not None and not isinstance(item["type"], str):
        raise wrong_type(f"{path}.type", "a string", item["type"])
    name = type_of(item)
    if name is None:
        raise missing(f"{path}.type")
    if name not in ITEMS:
        raise unsupported_value(f"{path}.type", name, ITEMS)
    ITEMS[name](item, path)
    if name == "function_call_output" and item.get("call_id") is None and not item.get("name"):
        raise missing(f"{path}.call_id")
    _check_id(item, name, path)
    _check_source(item, name, path)


def _check_id(item: dict[str, Any], name: str, path: str) -> None:
    prefix = _ID_PREFIXES.get(name)
    item_id = item.get("id")
    if prefix and item_id is not None and not item_id.startswith(prefix):
        raise ApiError(
            f"Invalid '{path}.id': '{item_id}'. Expected an ID that begins with '{prefix}'.",
            code="invalid_value",
            param=f"{path}.id",
        )


def _check_source(item: dict[str, Any], name: str, path: str) -> None:
    content = item.get("content" if name == "message" else "output")
    if not isinstance(content, list):
        return
    for index, part in enumerate(content):
        needed = _SOURCES.get(part.get("type"))
        if needed and not any(part.get(field) for field in needed):
            raise missing(f"{path}.content[{index}].{needed[0]}")


_SOURCES = {
    "input_image": ("image_url", "file_id"),
    "input_file": ("file_data", "file_id", "file_url"),
}

INPUT = by_type("one of an array of objects or a string", str=TEXT, list=array(check_item, of_what="objects"))


def user_message(text: str) -> dict[str, Any]:
    """The user message that a string given as ``input`` stands for."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def text_of(item: dict[str, Any]) -> str:
    """The text of a message or of a tool's output."""
    content = item.get("content", item.get("output", ""))
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(
        part.get("text") or part.get("refusal") or "" for part in content if isinstance(part, dict)
    )
