"""Strict checks of the emulator's events and answers against the types of the openai package."""

from __future__ import annotations

import functools
from typing import Any

from openai.types.responses import CompactedResponse, Response, ResponseItem, ResponseStreamEvent
from openai.types.responses.responses_server_event import ResponsesServerEvent
from pydantic import BaseModel, TypeAdapter

_FIELDS = (
    "id object created_at completed_at status incomplete_details model previous_response_id instructions"
    " output error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty"
    " frequency_penalty top_logprobs temperature reasoning usage max_output_tokens max_tool_calls store"
    " background service_tier metadata safety_identifier prompt_cache_key"
)
REQUIRED = frozenset(_FIELDS.split())
"""Fields of every response resource (Open Responses)."""

NEWER = frozenset(("presence_penalty", "frequency_penalty", "store"))
"""Fields of a response that Open Responses requires and the package lacks."""


def check_socket_event(event: dict[str, Any]) -> None:
    """An event on a socket."""
    _check(ResponsesServerEvent, event)
    _check_resource_of(event)


def check_stream_event(event: dict[str, Any]) -> None:
    """A server-sent event."""
    _check(ResponseStreamEvent, event)
    _check_resource_of(event)


def check_response(resource: dict[str, Any]) -> None:
    """A response resource."""
    _check(Response, resource)
    assert set(resource) >= REQUIRED, REQUIRED - set(resource)
    usage = resource["usage"]
    if usage:
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["input_tokens_details"]["cached_tokens"] <= usage["input_tokens"]
        assert usage["output_tokens_details"]["reasoning_tokens"] <= usage["output_tokens"]


def check_item(item: dict[str, Any]) -> None:
    """An item of a list of input items."""
    _check(ResponseItem, item)


def check_compacted(answer: dict[str, Any]) -> None:
    """The answer of the compaction endpoint. Its user messages are input items, unlike in the package."""
    output = answer["output"]
    messages = [item for item in output if item.get("role") == "user"]
    for item in messages:
        check_item(item)
    _check(CompactedResponse, answer | {"output": [item for item in output if item not in messages]})


def _check_resource_of(event: dict[str, Any]) -> None:
    if "response" in event:
        check_response(event["response"])


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _check(kind: Any, value: dict[str, Any]) -> None:
    _refuse_extras(_adapter(kind).validate_python(value, strict=True), kind)


def _refuse_extras(value: Any, path: Any) -> None:
    """Check that every field is declared; the package's models accept any."""
    if isinstance(value, list):
        for element in value:
            _refuse_extras(element, path)
    elif isinstance(value, BaseModel):
        allowed = NEWER if isinstance(value, Response) else frozenset()
        unknown = set(value.model_extra or ()) - allowed
        assert not unknown, f"{type(value).__name__} in {path} has unknown {unknown}"
        for name in type(value).model_fields:
            _refuse_extras(getattr(value, name), path)
