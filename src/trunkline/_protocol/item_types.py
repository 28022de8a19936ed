"""Types of input and output items, as the Responses API documents them.

They describe plain dicts for type checkers. Items of other types and other fields are accepted too: every
argument that takes an item also takes ``Mapping[str, Any]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]


# Parts of messages and of tool outputs


class PromptCacheBreakpoint(TypedDict):
    """The end of a cached prefix, on a part of the input."""

    mode: Literal["explicit"]
    ttl: NotRequired[Literal["30m", "12h"]]


class InputText(TypedDict):
    """Text in a message, or in the output of a tool."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: NotRequired[PromptCacheBreakpoint]


class InputImage(TypedDict):
    """An image, by its URL (``data:`` URLs included) or by the id of a file."""

    type: Literal["input_image"]
    detail: NotRequired[Literal["low", "high", "auto", "original"]]
    file_id: NotRequired[str | None]
    image_url: NotRequired[str | None]
    prompt_cache_breakpoint: NotRequired[PromptCacheBreakpoint]


class InputFile(TypedDict):
    """A file, by its content, its URL or its id."""

    type: Literal["input_file"]
    detail: NotRequired[Literal["auto", "low", "high"]]
    file_data: NotRequired[str]
    file_id: NotRequired[str | None]
    file_url: NotRequired[str]
    filename: NotRequired[str]
    prompt_cache_breakpoint: NotRequired[PromptCacheBreakpoint]


class OutputText(TypedDict):
    """Text of an assistant message."""

    type: Literal["output_text"]
    text: str
    annotations: NotRequired[Sequence[Mapping[str, Any]]]
    logprobs: NotRequired[Sequence[Mapping[str, Any]]]


class Refusal(TypedDict):
    """A refusal in an assistant message."""

    type: Literal["refusal"]
    refusal: str


InputPart: TypeAlias = InputText | InputImage | InputFile | Mapping[str, Any]
"""A part of an input message or of a tool's output."""

MessagePart: TypeAlias = InputText | InputImage | InputFile | OutputText | Refusal | Mapping[str, Any]
"""A part of a message."""


# Messages


class Message(TypedDict):
    """A message of a user, a developer, a system or an assistant."""

    type: NotRequired[Literal["message"]]
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Sequence[MessagePart]
    id: NotRequired[str]
    phase: NotRequired[Literal["commentary", "final_answer"] | None]
    status: NotRequired[Status]


# Calls of tools that the application answers, and their outputs


class DirectCaller(TypedDict):
    """The model itself called the tool."""

    type: Literal["direct"]


class ProgramCaller(TypedDict):
    """A program written by the model called the tool."""

    type: Literal["program"]
    caller_id: str


Caller: TypeAlias = DirectCaller | ProgramCaller

# A reserved word cannot be a key of a class.
_Async = TypedDict("_Async", {"async": bool | None}, total=False)


class FunctionCall(_Async):
    """A call of a function. ``arguments`` is a string of JSON."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: NotRequired[str]
    caller: NotRequired[Caller | None]
    namespace: NotRequired[str]
    status: NotRequired[Status]


class FunctionCallOutput(TypedDict):
    """The output of a function for one call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | Sequence[InputPart]
    id: NotRequired[str | None]
    caller: NotRequired[Caller | None]
    name: NotRequired[str | None]
    namespace: NotRequired[str | None]
    status: NotRequired[Status | None]


class CustomToolCall(_Async):
    """A call of a custom tool. ``input`` is free text."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    id: NotRequired[str]
    caller: NotRequired[Caller | None]
    namespace: NotRequired[str]
    status: NotRequired[Status]


class CustomToolCallOutput(TypedDict):
    """The output of a custom tool for one call."""

    type: Literal["custom_tool_call_output"]
    call_id: str
    output: str | Sequence[InputPart]
    id: NotRequired[str]
    caller: NotRequired[Caller | None]


class ComputerCallOutput(TypedDict):
    """The screenshot after one call of the computer tool."""

    type: Literal["computer_call_output"]
    call_id: str
    output: Mapping[str, Any]
    id: NotRequired[str | None]
    acknowledged_safety_checks: NotRequired[Sequence[Mapping[str, Any]] | None]
    status: NotRequired[Status | None]


class LocalShellCallOutput(TypedDict):
    """The output of one call of the local shell tool; ``id`` is the id of the call."""

    type: Literal["local_shell_call_output"]
    id: str
    output: str
    status: NotRequired[Status | None]


class ShellCallOutput(TypedDict):
    """The output of one call of the shell tool."""

    type: Literal["shell_call_output"]
    call_id: str
    output: Sequence[Mapping[str, Any]]
    id: NotRequired[str | None]
    caller: NotRequired[Caller | None]
    max_output_length: NotRequired[int | None]
    status: NotRequired[Status | None]


class ApplyPatchCallOutput(TypedDict):
    """The result of one patch."""

    type: Literal["apply_patch_call_output"]
    call_id: str
    status: Literal["completed", "failed"]
    id: NotRequired[str | None]
    caller: NotRequired[Caller | None]
    output: NotRequired[str | None]


class McpApprovalResponse(TypedDict):
    """The answer to an ``mcp_approval_request``."""

    type: Literal["mcp_approval_response"]
    approval_request_id: str
    approve: bool
    id: NotRequired[str | None]
    reason: NotRequired[str | None]


# What the service makes and an application sends back


class SummaryText(TypedDict):
    """A part of a reasoning summary."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(TypedDict):
    """A part of the reasoning text."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(TypedDict):
    """Reasoning of the model."""

    type: Literal["reasoning"]
    id: str
    summary: Sequence[SummaryText]
    content: NotRequired[Sequence[ReasoningText]]
    encrypted_content: NotRequired[str | None]
    status: NotRequired[Status]


class Compaction(TypedDict):
    """A compacted part of the history."""

    type: Literal["compaction"]
    encrypted_content: str
    id: NotRequired[str | None]


class ItemReference(TypedDict):
    """A reference to an item that the service stores."""

    type: Literal["item_reference"]
    id: str


class CompactionTrigger(TypedDict):
    """A request to compact the context. It must be the last item."""

    type: Literal["compaction_trigger"]
    id: NotRequired[str | None]


InputItem: TypeAlias = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | CustomToolCall
    | CustomToolCallOutput
    | ComputerCallOutput
    | LocalShellCallOutput
    | ShellCallOutput
    | ApplyPatchCallOutput
    | McpApprovalResponse
    | ReasoningItem
    | Compaction
    | CompactionTrigger
    | ItemReference
)
"""The items that applications create."""

ItemInput: TypeAlias = InputItem | Mapping[str, Any]
"""An item of an input: a known type, or any mapping for other types."""

TurnInput: TypeAlias = str | ItemInput | Sequence[ItemInput]
"""The input of a turn: a string (a user message), an item, or a list of items."""

ToolCall: TypeAlias = FunctionCall | CustomToolCall
"""A call for which the application gives an output item with the same ``call_id``."""
