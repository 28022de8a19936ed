"""The fields of requests and their checks, as tables."""

from __future__ import annotations

from .items import INPUT, check_item
from .schema import (
    Check,
    anything,
    array,
    boolean,
    by_type,
    choice,
    fields,
    integer,
    mapping,
    nullable,
    number,
    string,
    tagged,
)
from .tools import FORMATS, TOOL, tool_choice

_TEXT = string()
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
        fields(optional={"format": nullable(tagged(FORMATS)), "verbosity": choice("low", "medium", "high")})
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
    "multi_agent": nullable(fields(open_ended=True)),
    "moderation": nullable(fields({"model": _TEXT}, open_ended=True)),
}
"""Fields that both ``POST /v1/responses`` and a socket accept."""

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
HTTP_ONLY = ("stream", "stream_options", "background", "background_options")
CREATE = {
    "websocket": fields(optional=FIELDS | _SOCKET),
    "http": fields(optional=FIELDS | _HTTP),
}
_SMALLER = (
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
_COUNTED = (
    "model",
    "input",
    "instructions",
    "previous_response_id",
    "conversation",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "truncation",
)
COUNT = fields(optional={name: nullable(FIELDS[name]) for name in _COUNTED} | {"personality": _TEXT})
_METADATA = FIELDS["metadata"]
_ITEMS = array(check_item, max_length=20, of_what="objects")
CONVERSATION = fields(optional={"items": nullable(_ITEMS), "metadata": _METADATA})
CONVERSATION_UPDATE = fields({"metadata": _METADATA})
CONVERSATION_ITEMS = fields({"items": _ITEMS}, {"include": FIELDS["include"]})
COMPACT = fields(optional={name: FIELDS[name] for name in _SMALLER})
