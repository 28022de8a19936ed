"""Identity of items: the fields that two items must have in common to be equal.

Other fields do not count, because servers add fields that applications do not keep: ``annotations``,
``logprobs``, ``phase``, the ids of messages.

============================  ==================================================================
kind                          fields compared
============================  ==================================================================
message                       role and content; a string equals one text part
tool call                     call id, name, and arguments, input, action or operation; a string of
                              arguments is compared as JSON
output of a tool call         call id and output; for patches and shells also the status; without a call
                              id, which programs may leave out, the name, the namespace and the caller
program, its output           call id, and code or result
additional tools              role and tools
compaction trigger            nothing else
configuration update          all fields but its id and status
approval, reference           its ids, and the request or the answer
reasoning                     the encrypted content, else id, summary and content
compaction, any other kind    the encrypted content, else all fields
============================  ==================================================================

Arguments are compared as JSON because frameworks decode and encode them anew. The comparison is typed and
exact: the order of keys, white space and escapes do not count; ``true`` is not ``1``, and numbers are
compared by their digits, so that ``1`` is not ``1.0``. Strings that are not JSON, or in which an object has
the same key twice, are compared as strings.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Final, NoReturn

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
_PROGRAMS_AND_SETTINGS: Final = {
    "program": ("call_id", "code"),
    "program_output": ("call_id", "result"),
    "additional_tools": ("role", "tools"),
    "compaction_trigger": (),
}
_BY_ID: Final = {
    "item_reference": ("id",),
    "mcp_approval_request": ("id", "server_label", "name", "arguments"),
    "mcp_approval_response": ("approval_request_id", "approve", "reason"),
}
_IDENTITY: Final[dict[str, tuple[str, ...]]] = CALLS | OUTPUTS | _PROGRAMS_AND_SETTINGS | _BY_ID
_WITHOUT_A_CALL_ID: Final = ("name", "namespace", "caller", "output")
_WITH_ARGUMENTS: Final = frozenset(kind for kind, fields in _IDENTITY.items() if "arguments" in fields)
_SERVER_SIDE_FIELDS: Final = frozenset({"annotations", "logprobs"})
_TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text"})

_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def joinable_text(message: JSON) -> str | None:
    """The text of an assistant message without other content; ``None`` for other messages."""
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
    """The identity of an item, as a hash."""
    fields = _IDENTITY.get(kind)
    if kind == "function_call_output" and source.get("call_id") is None:
        fields = _WITHOUT_A_CALL_ID
    if fields is not None:
        values = [source.get(name) for name in fields]
        if kind in _WITH_ARGUMENTS:
            values[-1] = _as_json(values[-1])  # the last field in the table
        return _hash([kind, *values])
    if kind == "message":
        content = source.get("content")
        if isinstance(content, str):
            content = [["text", content]]
        elif isinstance(content, list):
            content = [_part_identity(part) for part in content]
        return _hash([kind, source.get("role"), content])
    if isinstance(source.get("encrypted_content"), str):
        return _hash([kind, source["encrypted_content"]])
    if kind == "reasoning":
        return _hash([kind, source.get("id"), source.get("summary"), source.get("content")])
    if kind == "configuration_update":
        return _hash([kind, {name: value for name, value in source.items() if name not in ("id", "status")}])
    return _hash([kind, source])


def _part_identity(part: object) -> object:
    if _is_plain_text(part):
        return ["text", part["text"]]  # type: ignore[index]
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name not in _SERVER_SIDE_FIELDS}
    return part


def _as_json(arguments: object) -> tuple[str, object]:
    """The arguments of a call in a form that is equal for equal JSON, and for nothing else."""
    if isinstance(arguments, str):
        try:
            return ("json", _encoded(_decode_arguments(arguments)).decode())
        except (ValueError, RecursionError):
            pass
    return ("as given", arguments)


# Objects and numbers become objects of one key, which no part of the JSON itself can become.


def _object(pairs: list[tuple[str, object]]) -> JSON:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same key twice")
    return {"object": members}


def _number(digits: str) -> JSON:
    return {"number": digits}


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode_arguments: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_number, parse_float=_number, parse_constant=_constant
).decode


def _hash(value: object) -> bytes:
    return blake2b(_encoded(value), digest_size=32).digest()


def _encoded(value: object) -> bytes:
    try:
        return _sorted(value)
    except (UnicodeEncodeError, OverflowError):  # lone surrogates, integers of more than 64 bits
        return json.dumps(value, sort_keys=True, allow_nan=False).encode()
