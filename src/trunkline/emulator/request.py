"""Requests for a response: their fields, their checks, and their defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from .errors import ApiError, invalid_stream_id
from .items import INPUT, user_message
from .schema import (
    Check,
    anything,
    array,
    boolean,
    by_type,
    choice,
    fields,
    integer,
    kind,
    mapping,
    missing,
    nullable,
    number,
    string,
    tagged,
    wrong_type,
)
from .tools import TOOL, shown, tool_choice

_TEXT = string()
_FORMATS: dict[str, Check] = {
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

FIELDS: dict[str, Check] = {
    "model": string(min_length=1),
    "input": nullable(INPUT),
    "instructions": nullable(_TEXT),
    "previous_response_id": nullable(_TEXT),
    "conversation": nullable(by_type("a string or an object", str=_TEXT, dict=fields({"id": _TEXT}))),
    "prompt": nullable(
        fields({"id": _TEXT}, {"version": nullable(_TEXT), "variables": nullable(mapping(anything))})
    ),
    "tools": nullable(array(TOOL, max_length=128, of_what="objects")),
    "tool_choice": tool_choice,
    "parallel_tool_calls": nullable(boolean),
    "max_tool_calls": nullable(integer(1)),
    "max_output_tokens": nullable(integer(1)),
    "temperature": nullable(number(0, 2)),
    "top_p": nullable(number(0, 1)),
    "presence_penalty": nullable(number(-2, 2)),
    "frequency_penalty": nullable(number(-2, 2)),
    "top_logprobs": nullable(integer(0, 20)),
    "text": nullable(
        fields(optional={"format": nullable(tagged(_FORMATS)), "verbosity": choice("low", "medium", "high")})
    ),
    "reasoning": nullable(
        fields(
            optional={
                "effort": choice("none", "minimal", "low", "medium", "high", "xhigh", "max"),
                "summary": choice("auto", "concise", "detailed"),
                "generate_summary": choice("auto", "concise", "detailed"),
                "context": choice("auto", "current_turn", "all_turns"),
                "mode": choice("standard", "pro"),
            }
        )
    ),
    "include": nullable(
        array(
            choice(
                "file_search_call.results",
                "web_search_call.results",
                "web_search_call.action.sources",
                "message.input_image.image_url",
                "computer_call_output.output.image_url",
                "code_interpreter_call.outputs",
                "reasoning.encrypted_content",
                "message.output_text.logprobs",
            )
        )
    ),
    "truncation": choice("auto", "disabled"),
    "service_tier": choice("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"),
    "store": nullable(boolean),
    "metadata": nullable(mapping(string(max_length=512), max_keys=16, max_key_length=64)),
    "context_management": nullable(
        array(
            tagged({"compaction": fields({"type": _TEXT}, {"compact_threshold": nullable(integer(1))})}),
            of_what="objects",
        )
    ),
    "safety_identifier": nullable(string(max_length=128)),
    "prompt_cache_key": nullable(string(max_length=1024)),
    "prompt_cache_retention": choice("in_memory", "24h"),
    "prompt_cache_options": nullable(
        fields(
            optional={
                "mode": choice("implicit", "explicit"),
                "ttl": choice("30m", "12h"),
                "prewarm": boolean,
                "comparison_response_id": nullable(_TEXT),
            }
        )
    ),
    "user": nullable(_TEXT),
    "access_programs": nullable(fields(open_ended=True)),
    "image": nullable(fields(optional={"context_compression": choice("auto", "enabled", "disabled")})),
    "moderation": nullable(fields({"model": _TEXT}, open_ended=True)),
}
"""The body of ``POST /v1/responses`` that a socket accepts too."""

_SOCKET: dict[str, Check] = {
    "type": _TEXT,
    "stream_id": _TEXT,
    "generate": nullable(boolean),
    "stream": boolean,
}
_HTTP: dict[str, Check] = {
    "stream": nullable(boolean),
    "stream_options": nullable(fields(optional={"include_obfuscation": boolean})),
    "background": nullable(boolean),
    "background_options": nullable(fields(open_ended=True)),
}
_HTTP_ONLY = ("stream", "stream_options", "background", "background_options")
_CHECKS = {
    "websocket": fields(optional=FIELDS | _SOCKET),
    "http": fields(optional=FIELDS | _HTTP),
}
_COMPACT_FIELDS = (
    "model",
    "input",
    "instructions",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "image",
)
_COMPACT = fields(optional={name: FIELDS[name] for name in _COMPACT_FIELDS})
_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A request that has passed every check that needs no memory of earlier ones."""

    body: dict[str, Any]
    model: str
    input: list[dict[str, Any]]
    instructions: str | None
    tools: list[dict[str, Any]]
    tool_choice: Any
    previous_response_id: str | None
    conversation_id: str | None
    generate: bool
    store: bool
    stream: bool
    background: bool

    @property
    def text_format(self) -> dict[str, Any]:
        """How the answer has to look: ``{"type": "text"}`` unless asked otherwise."""
        return (self.body.get("text") or {}).get("format") or {"type": "text"}

    @property
    def include(self) -> list[str]:
        """What the client asked to have included."""
        return self.body.get("include") or []

    @property
    def parallel_tool_calls(self) -> bool:
        """Whether the model may call several tools at once."""
        return self.body.get("parallel_tool_calls") is not False

    @property
    def prompt_key(self) -> bytes:
        """What has to be equal, besides the items, for a cached prompt to be of use."""
        effort = (self.body.get("reasoning") or {}).get("effort")
        parts = (self.model, self.instructions, self.tools, effort, self.text_format)
        return msgspec.json.encode(parts)


def decode(raw: bytes | str) -> dict[str, Any]:
    """Read a frame or body as a JSON object.

    Raises:
        ApiError: it is something else.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(
            "We could not parse the JSON body of your request."
            " The OpenAI API expects a JSON payload, but what was sent was not valid JSON.",
            code="invalid_json",
        ) from error
    if not isinstance(value, dict):
        raise ApiError(
            f"Invalid type for request body: expected an object, but got {kind(value)} instead.",
            code="invalid_type",
        )
    return value


def lane_of(body: dict[str, Any]) -> str | None:
    """The lane that a frame asks for, or None for the default lane.

    Raises:
        ApiError: the name breaks the grammar.
    """
    if "stream_id" not in body:
        return None
    name = body["stream_id"]
    if not isinstance(name, str) or not _STREAM_ID.fullmatch(name):
        raise invalid_stream_id()
    return name


def check_create(body: dict[str, Any], *, transport: str) -> CreateRequest:
    """Check a request and fill in the defaults.

    Raises:
        ApiError: it breaks a rule; the message, code and parameter say which.
    """
    if transport == "websocket":
        _refuse_http_only(body)
    if "model" not in body and not body.get("prompt"):
        raise missing("model")
    if body.get("model", "") is None:
        raise wrong_type("model", "a string", None)
    _CHECKS[transport](body, "")
    _check_combinations(body)
    return _with_defaults(body)


def check_compact(body: dict[str, Any]) -> CreateRequest:
    """Check the body of ``POST /v1/responses/compact``.

    Raises:
        ApiError: it breaks a rule.
    """
    if "model" not in body:
        raise missing("model")
    _COMPACT(body, "")
    return _with_defaults(body)


def _refuse_http_only(body: dict[str, Any]) -> None:
    for name in _HTTP_ONLY:
        # A socket streams by itself, and clients in wide use say so all the same (openai-agents).
        if name in body and not (name == "stream" and body[name] is True):
            raise ApiError(
                f"Unsupported parameter: '{name}' is not supported over WebSocket.",
                code="unsupported_parameter",
                param=name,
            )


def _check_combinations(body: dict[str, Any]) -> None:
    if body.get("previous_response_id") is not None and body.get("conversation") is not None:
        raise ApiError(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'."
            " Ensure you are only providing one of these parameters.",
            code="mutually_exclusive_parameters",
            param="previous_response_id",
        )
    sources = ("input", "previous_response_id", "prompt", "conversation")
    if body.get("generate") is not False and not any(body.get(name) for name in sources):
        raise ApiError(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.",
            code="missing_required_parameter",
            param="input",
        )
    if body.get("stream_options") and not body.get("stream"):
        raise ApiError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            code="invalid_parameter",
            param="stream_options",
        )
    if body.get("background") and body.get("store") is False:
        raise ApiError("Background responses have to be stored.", code="invalid_parameter", param="store")
    _check_named_tool(body)


def _check_named_tool(body: dict[str, Any]) -> None:
    chosen = body.get("tool_choice")
    tools = body.get("tools") or []
    if chosen == "required" and not tools:
        raise ApiError(
            "Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice"
        )
    if not isinstance(chosen, dict) or chosen["type"] not in ("function", "custom"):
        return
    if not any(tool["type"] == chosen["type"] and tool.get("name") == chosen["name"] for tool in tools):
        raise ApiError(f"Tool choice '{chosen['name']}' not found in 'tools' parameter.", param="tool_choice")


def _with_defaults(body: dict[str, Any]) -> CreateRequest:
    given = body.get("input")
    items = [user_message(given)] if isinstance(given, str) and given else given or []
    conversation = body.get("conversation")
    prewarm = (body.get("prompt_cache_options") or {}).get("prewarm") is True
    return CreateRequest(
        body=body,
        model=body.get("model") or "prompt",
        input=items,
        instructions=body.get("instructions"),
        tools=[shown(tool) for tool in body.get("tools") or []],
        tool_choice=body.get("tool_choice", "auto"),
        previous_response_id=body.get("previous_response_id"),
        conversation_id=conversation["id"] if isinstance(conversation, dict) else conversation,
        generate=body.get("generate") is not False and not prewarm,
        store=body.get("store") is not False,
        stream=body.get("stream") is True,
        background=body.get("background") is True,
    )
