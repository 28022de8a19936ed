"""Types of the fields of a request, as the Responses API documents them.

They type keyword arguments and are not checked at run time. Every option object can also be any mapping, so
that new options work without a new release. ``None`` leaves a field unset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from ._protocol.item_types import InputFile, InputImage, InputText
from .errors import ConfigurationError
from .tools import Tool


class ReasoningOptions(TypedDict, total=False):
    """``reasoning``: the effort of the model, and the parts of the reasoning that are returned and kept."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None
    summary: Literal["auto", "concise", "detailed"] | None
    generate_summary: Literal["auto", "concise", "detailed"] | None
    context: Literal["auto", "current_turn", "all_turns"] | None
    mode: str


class TextOptions(TypedDict, total=False):
    """``text``: the format and the verbosity of the output text."""

    format: Mapping[str, Any]
    verbosity: Literal["low", "medium", "high"] | None


class PromptCacheOptions(TypedDict, total=False):
    """``prompt_cache_options``: the use of the prompt cache."""

    comparison_response_id: str | None
    mode: Literal["implicit", "explicit"]
    prewarm: bool
    ttl: Literal["30m", "12h"]


class ContextManagement(TypedDict):
    """An entry of ``context_management``: compaction inside a response."""

    type: Literal["compaction"]
    compact_threshold: NotRequired[int | None]


class PromptReference(TypedDict):
    """``prompt``: a prompt template, by its id."""

    id: str
    variables: NotRequired[Mapping[str, str | InputText | InputImage | InputFile] | None]
    version: NotRequired[str | None]


class ToolChoiceNamed(TypedDict):
    """``tool_choice``: the model must call this function or custom tool."""

    type: Literal["function", "custom"]
    name: str


class ToolChoiceAllowed(TypedDict):
    """``tool_choice``: the model may call only these tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Sequence[Mapping[str, Any]]


ToolChoice: TypeAlias = (
    Literal["none", "auto", "required"] | ToolChoiceNamed | ToolChoiceAllowed | Mapping[str, Any]
)
"""The value of ``tool_choice``."""


class RequestFields(TypedDict, total=False):
    """The fields of a request that are not arguments of their own.

    Not included are the fields that trunkline sets (``stream``, ``stream_id``, ``generate``), and those that
    do not apply to a streamed turn (``background``, ``background_options``, ``stream_options``).
    """

    access_programs: Mapping[str, Any] | None
    context_management: Sequence[ContextManagement | Mapping[str, Any]] | None
    conversation: str | Mapping[str, Any] | None
    frequency_penalty: float | None
    image: Mapping[str, Any] | None
    include: list[str] | tuple[str, ...] | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: Mapping[str, str] | None
    moderation: Mapping[str, Any] | None
    multi_agent: Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    presence_penalty: float | None
    previous_response_id: str | None
    prompt: PromptReference | Mapping[str, Any] | None
    prompt_cache_key: str | None
    prompt_cache_options: PromptCacheOptions | Mapping[str, Any] | None
    prompt_cache_retention: Literal["in_memory", "24h"] | None
    reasoning: ReasoningOptions | Mapping[str, Any] | None
    safety_identifier: str | None
    service_tier: str | None
    store: bool | None
    temperature: float | None
    text: TextOptions | Mapping[str, Any] | None
    tool_choice: ToolChoice | None
    top_logprobs: int | None
    top_p: float | None
    truncation: Literal["auto", "disabled"] | None
    user: str | None


class TurnFields(RequestFields, total=False):
    """The fields of one turn of a conversation, which override those of the conversation."""

    instructions: str | None
    model: str
    tools: Sequence[Tool] | None


def with_extra(fields: Mapping[str, Any], extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields given as arguments, and those of ``extra_fields``.

    Raises:
        ConfigurationError: ``extra_fields`` is not a mapping, or repeats a field given as an argument.
    """
    if extra is None:
        return dict(fields)
    if not isinstance(extra, Mapping):
        raise ConfigurationError(
            f"extra_fields must be a dict of fields, not {type(extra).__name__}", argument="extra_fields"
        )
    if given := sorted(str(name) for name in fields.keys() & extra.keys()):
        raise ConfigurationError(
            f"extra_fields has {', '.join(given)}: give each field once, as an argument of its own",
            argument="extra_fields",
        )
    return {**fields, **extra}
