"""The settings of an `LLM` and the request fields that result from them.

Names, defaults and precedence are those of ``livekit.plugins.openai.responses.LLM``: arguments of a request
override the settings of the LLM, which override ``extra_kwargs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from livekit.agents.inference.llm import (
    PromptCacheOptions,
    drop_unsupported_params,
    min_reasoning_effort,
)
from livekit.agents.llm import ToolChoice
from livekit.agents.llm.utils import to_openai_response_format
from livekit.agents.types import NotGivenOr
from livekit.agents.utils import is_given
from openai.types import Reasoning
from pydantic import BaseModel

ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "ultrafast"]
Verbosity = Literal["low", "medium", "high"]

Truncation = Literal["auto", "disabled"]

_NOT_FIELDS = {
    "extra_headers": "give extra_headers to the LLM, or headers to its Client",
    "extra_query": "give the query in base_url",
    "timeout": "give conn_options",
}


def lowest_effort(model: str) -> Reasoning | None:
    """The default reasoning setting of a model: its lowest effort, for low latency, as LiveKit knows it."""
    effort = min_reasoning_effort(model)
    return Reasoning.model_validate({"effort": effort}) if effort is not None else None


@dataclass(slots=True, repr=False)  # `user`, `metadata` and more are the application's
class Options:
    """The settings of an `LLM`."""

    model: str
    user: NotGivenOr[str]
    safety_identifier: NotGivenOr[str]
    temperature: NotGivenOr[float]
    top_p: NotGivenOr[float]
    parallel_tool_calls: NotGivenOr[bool]
    reasoning: NotGivenOr[Reasoning]
    tool_choice: NotGivenOr[ToolChoice]
    store: NotGivenOr[bool]
    metadata: NotGivenOr[dict[str, str]]
    service_tier: NotGivenOr[ServiceTier]
    verbosity: NotGivenOr[Verbosity]
    max_output_tokens: NotGivenOr[int]
    truncation: NotGivenOr[Truncation]
    prompt_cache_key: NotGivenOr[str]
    prompt_cache_options: NotGivenOr[PromptCacheOptions]

    def fields(
        self,
        *,
        parallel_tool_calls: NotGivenOr[bool],
        tool_choice: NotGivenOr[ToolChoice],
        response_format: NotGivenOr[Any],
        extra_kwargs: NotGivenOr[dict[str, Any]],
    ) -> dict[str, Any]:
        """Return the fields of one request as plain JSON, without input and tools.

        Raises:
            ValueError: ``extra_kwargs`` contains a name that is not a request field.
        """
        fields = _extra(extra_kwargs) | self._set()
        text = dict(fields.get("text") or {})
        if is_given(response_format):
            text["format"] = _text_format(response_format)
        if is_given(self.verbosity):
            text["verbosity"] = self.verbosity
        if text:
            fields["text"] = text
        parallel = parallel_tool_calls if is_given(parallel_tool_calls) else self.parallel_tool_calls
        if is_given(parallel):
            fields["parallel_tool_calls"] = parallel
        choice = tool_choice if is_given(tool_choice) else self.tool_choice
        if is_given(choice):
            fields["tool_choice"] = _named(choice) if isinstance(choice, dict) else choice
        kept = drop_unsupported_params(self.model, fields)
        return {"model": self.model} | {name: _plain(value) for name, value in kept.items()}

    def _set(self) -> dict[str, Any]:
        given = {
            "metadata": self.metadata,
            "user": self.user,
            "safety_identifier": self.safety_identifier,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "store": self.store,
            "reasoning": self.reasoning,
            "service_tier": self.service_tier,
            "max_output_tokens": self.max_output_tokens,
            "truncation": self.truncation,
            "prompt_cache_key": self.prompt_cache_key,
            "prompt_cache_options": self.prompt_cache_options,
        }
        return {name: value for name, value in given.items() if is_given(value)}


def _extra(extra_kwargs: NotGivenOr[dict[str, Any]]) -> dict[str, Any]:
    given = dict(extra_kwargs) if is_given(extra_kwargs) else {}
    for name, instead in _NOT_FIELDS.items():
        if given.pop(name, None) is not None:
            raise ValueError(f"{name} is not a request field; {instead}")
    return given | dict(given.pop("extra_body", None) or {})


def _named(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "name": choice["function"]["name"]}


def _text_format(response_format: type | dict[str, Any]) -> dict[str, Any]:
    """Convert a response format of chat completions, or a Pydantic model, to a text format."""
    if isinstance(response_format, dict):
        chosen = response_format
    else:
        chosen = to_openai_response_format(response_format)
    schema = chosen.get("json_schema")
    return {"type": "json_schema", **schema} if isinstance(schema, dict) else dict(chosen)


def _plain(value: Any) -> Any:
    """Convert models of the openai package to plain JSON, without unset fields."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
