"""Identity of items: what equality compares.

Two items are equal when their *identity* is. It goes by this table, because servers add fields
(``annotations``, ``logprobs``, ``phase``, the ids of messages) that applications do not keep:

============================  ==================================================================
kind                          what makes it what it is
============================  ==================================================================
message                       role and content; a string equals one text part
tool calls                    call id, name, and arguments, input, action or operation
outputs of tool calls         call id and output; of patches and shells also the status
approvals, references         their ids, and the answer
reasoning, compaction         the encrypted content, else the id and the summary
anything else                 all of it
============================  ==================================================================
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Final

import msgspec

from .json import JSON

CALLS: Final = {
    "function_call": ("call_id", "name", "namespace", "arguments"),
    "custom_tool_call": ("call_id", "name", "namespace", "input"),
    "computer_call": ("call_id", "action", "actions"),
    "local_shell_call": ("call_id", "action"),
    "shell_call": ("call_id", "action"),
    "apply_patch_call": ("call_id", "operation"),
    "tool_search_call": ("call_id", "arguments"),
}
OUTPUTS: Final = {
    "function_call_output": ("call_id", "output"),
    "custom_tool_call_output": ("call_id", "output"),
    "computer_call_output": ("call_id", "output", "acknowledged_safety_checks"),
    "local_shell_call_output": ("call_id", "id", "output"),
    "shell_call_output": ("call_id", "output", "status"),
    "apply_patch_call_output": ("call_id", "output", "status"),
    "tool_search_output": ("call_id", "tools"),
}
_BY_ID: Final = {
    "item_reference": ("id",),
    "mcp_approval_request": ("id", "server_label", "name", "arguments"),
    "mcp_approval_response": ("approval_request_id", "approve", "reason"),
}
_IDENTITY: Final = CALLS | OUTPUTS | _BY_ID
_SERVER_SIDE_FIELDS: Final = frozenset({"annotations", "logprobs"})
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text"})

_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def joinable_text(message: JSON) -> str | None:
    """The text of an assistant message that holds nothing but text."""
    content = message.get("content")
    if message.get("role") != "assistant":
        return None
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(_is_plain_text(part) for part in content):
        return None
    return "".join(part["text"] for part in content)


def _is_plain_text(part: object) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type") in _TEXT_PARTS
        and isinstance(part.get("text"), str)
        and part.keys() - _SERVER_SIDE_FIELDS == {"type", "text"}
    )


def identity(kind: str, source: JSON) -> bytes:
    fields = _IDENTITY.get(kind)
    if fields is not None:
        return _hash([kind, *(source.get(name) for name in fields)])
    if kind == "message":
        return _hash([kind, source.get("role"), _content_identity(source.get("content"))])
    if isinstance(source.get("encrypted_content"), str):
        return _hash([kind, source["encrypted_content"]])
    if kind == "reasoning":
        return _hash([kind, source.get("id"), source.get("summary"), source.get("content")])
    return _hash([kind, source])


def _content_identity(content: object) -> object:
    if isinstance(content, str):
        return [["text", content]]
    if not isinstance(content, list):
        return content
    return [_part_identity(part) for part in content]


def _part_identity(part: object) -> object:
    if _is_plain_text(part):
        return ["text", part["text"]]  # type: ignore[index]
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name not in _SERVER_SIDE_FIELDS}
    return part


def _hash(value: object) -> bytes:
    try:
        encoded = _sorted(value)
    except (UnicodeEncodeError, OverflowError):
        encoded = json.dumps(value, sort_keys=True, allow_nan=False).encode()
    return blake2b(encoded, digest_size=32).digest()
