"""Requests for a response: checks and defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .errors import ApiError, invalid_stream_id
from .gpt_6_2 import check_fields, has_prefix_rule
from .items import user_message
from .request_fields import COMPACT, COUNT, CREATE, HTTP_ONLY
from .schema import kind, missing, wrong_type
from .tools import shown

_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A request that has passed all checks that need no earlier response."""

    body: dict[str, Any] = field(repr=False)
    model: str
    input: list[dict[str, Any]] = field(repr=False)
    instructions: str | None = field(repr=False)
    tools: list[dict[str, Any]] = field(repr=False)
    tool_choice: Any = field(repr=False)
    previous_response_id: str | None
    conversation_id: str | None
    generate: bool
    store: bool
    stream: bool
    background: bool

    @property
    def text_format(self) -> dict[str, Any]:
        """The requested format of the answer; ``{"type": "text"}`` by default."""
        return (self.body.get("text") or {}).get("format") or {"type": "text"}

    @property
    def include(self) -> list[str]:
        """The request's ``include`` list."""
        return self.body.get("include") or []

    @property
    def parallel_tool_calls(self) -> bool:
        """Whether the model may call several tools in parallel."""
        return self.body.get("parallel_tool_calls") is not False

    @property
    def has_prefix_rule(self) -> bool:
        """Whether the model puts ``instructions`` after the input and drops reasoning."""
        return has_prefix_rule(self.model)

    @property
    def prompt_key(self) -> bytes:
        """The parts of a prompt besides its items."""
        return msgspec.json.encode((self._settings, self.instructions))

    @property
    def prefix_key(self) -> bytes:
        """The parts of a prompt before its items, which must be equal for a prompt cache hit."""
        return msgspec.json.encode(self._settings) if self.has_prefix_rule else self.prompt_key

    @property
    def end_user(self) -> str | None:
        """The end user whom the request names."""
        return self.body.get("safety_identifier") or self.body.get("user")

    @property
    def _settings(self) -> tuple[Any, ...]:
        effort = (self.body.get("reasoning") or {}).get("effort")
        return self.model, self.tools, effort, self.text_format


def decode(raw: bytes | str) -> dict[str, Any]:
    """Decode a frame or body as a JSON object.

    Raises:
        ApiError: it is not a JSON object.
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
    """The lane named by a frame, or None for the default lane.

    Raises:
        ApiError: the name is invalid.
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
        ApiError: it is invalid; the message, code and parameter name the problem.
    """
    if transport == "websocket":
        _refuse_http_only(body)
    if "betas" in body:
        raise ApiError(
            "Unsupported parameter: 'betas' is not a field of the request; send the header 'OpenAI-Beta'.",
            code="unsupported_parameter",
            param="betas",
        )
    if "model" not in body and not body.get("prompt"):
        raise missing("model")
    if body.get("model", "") is None:
        raise wrong_type("model", "a string", None)
    CREATE[transport](body, "")
    _check_combinations(body)
    request = _with_defaults(body)
    if request.has_prefix_rule:
        check_fields(body, request.model)
    return request


def check_compact(body: dict[str, Any]) -> CreateRequest:
    """Check the body of ``POST /v1/responses/compact``.

    Raises:
        ApiError: it is invalid.
    """
    if "model" not in body:
        raise missing("model")
    COMPACT(body, "")
    return _with_defaults(body)


def check_count(body: dict[str, Any]) -> CreateRequest:
    """Check the body of ``POST /v1/responses/input_tokens``.

    Raises:
        ApiError: it is invalid.
    """
    COUNT(body, "")
    _check_combinations(body)
    return _with_defaults(body)


def _refuse_http_only(body: dict[str, Any]) -> None:
    for name in HTTP_ONLY:
        # Sockets always stream, but openai-agents sends ``stream: true``; accept it.
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
    if not _is_warm_up(body) and not any(body.get(name) for name in sources):
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
    _check_trigger(body.get("input"))
    _check_named_tool(body)


def _is_warm_up(body: dict[str, Any]) -> bool:
    """Whether a request asks for no output; over HTTP, only ``prewarm`` does."""
    return body.get("generate") is False or (body.get("prompt_cache_options") or {}).get("prewarm") is True


def _check_trigger(items: Any) -> None:
    """Check that nothing follows a ``compaction_trigger``."""
    for index, item in enumerate(items[:-1] if isinstance(items, list) else ()):
        if item.get("type") == "compaction_trigger":
            raise ApiError(
                f"Invalid 'input[{index}]': a 'compaction_trigger' must be the last item of the input.",
                code="invalid_value",
                param=f"input[{index}]",
            )


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
    return CreateRequest(
        body=body,
        model=body.get("model") or "prompt",
        input=items,
        instructions=body.get("instructions"),
        tools=[shown(tool) for tool in body.get("tools") or []],
        tool_choice=body.get("tool_choice", "auto"),
        previous_response_id=body.get("previous_response_id"),
        conversation_id=conversation["id"] if isinstance(conversation, dict) else conversation,
        generate=not _is_warm_up(body),
        store=body.get("store") is not False,
        stream=body.get("stream") is True,
        background=body.get("background") is True,
    )
