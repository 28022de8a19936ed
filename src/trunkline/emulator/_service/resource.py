"""The response resource, with all fields that the service always sends."""

from __future__ import annotations

from typing import Any

from .._protocol.request import CreateRequest


def new_resource(
    request: CreateRequest,
    *,
    response_id: str,
    created_at: int,
    previous_response_id: str | None,
    store: bool,
) -> dict[str, Any]:
    """Create the resource of a new response."""
    body = request.body
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    resource = {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "background": request.background,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": previous_response_id,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": _tier(body.get("service_tier")),
        "store": store,
        "temperature": _given(body, "temperature", 1.0),
        "text": {"format": _format(request.text_format), "verbosity": text.get("verbosity", "medium")},
        "tool_choice": request.tool_choice,
        "tools": request.tools,
        "top_logprobs": _given(body, "top_logprobs", 0),
        "top_p": _given(body, "top_p", 1.0),
        "presence_penalty": _given(body, "presence_penalty", 0.0),
        "frequency_penalty": _given(body, "frequency_penalty", 0.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }
    if request.conversation_id is not None:
        resource["conversation"] = {"id": request.conversation_id}
    return resource


def _given(body: dict[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value


def _format(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["type"] != "json_schema":
        return wanted
    return {"description": None, "strict": False} | wanted


def _tier(asked: str | None) -> str:
    if asked in (None, "auto"):
        return "default"
    return "priority" if asked == "fast" else str(asked)
