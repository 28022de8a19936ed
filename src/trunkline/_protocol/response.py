"""The response resource."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import msgspec
from msgspec import Raw, field
from msgspec.structs import force_setattr

from .calls import CALLS_TO_ANSWER, is_call_to_answer
from .item_types import ToolCall
from .json import JSON
from .quiet import QuietStruct

_PARSE = "_parse"
_PARSED = "_parsed"
_ABSENT = Raw(b"null")
_ANSWERED = "_answered"
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


class Response(QuietStruct, dict=True, frozen=True):
    """A response resource. Immutable.

    Only the fields that are used are declared; ``output`` is required to have its documented type, and other
    fields with another type count as missing.

    Attributes:
        encoded_output: the output items, each as JSON.
        encoded_usage: the usage as JSON.
        encoded_error: the error as JSON.
        encoded_incomplete_details: the details of an incomplete response as JSON.
        encoded_input_transformations: the changes of the context as JSON.
    """

    _id: Any = field(name="id", default=None)
    _status: Any = field(name="status", default=None)
    _model: Any = field(name="model", default=None)
    _store: Any = field(name="store", default=None)
    _previous_response_id: Any = field(name="previous_response_id", default=msgspec.UNSET)
    encoded_output: list[Raw] | None = field(name="output", default=None)
    encoded_usage: Raw = field(name="usage", default=Raw(b"null"))
    encoded_error: Raw = field(name="error", default=Raw(b"null"))
    encoded_incomplete_details: Raw = field(name="incomplete_details", default=Raw(b"null"))
    encoded_input_transformations: Raw = field(name="input_transformations", default=_ABSENT)

    def __post_init__(self) -> None:
        if not self.encoded_output:
            return
        items = self.output
        if {*map(type, items)} == {dict}:
            return
        if not all(item is None or isinstance(item, dict) for item in items):
            raise ValueError("an output item is not an object")
        # A null among the items counts for nothing.
        encoded = [item for item in self.encoded_output or () if bytes(item) != b"null"]
        force_setattr(self, "encoded_output", encoded)
        self.__dict__["output"] = [item for item in items if item is not None]

    def with_output(self, items: Sequence[Raw]) -> Response:
        """A copy with other output items, because some gateways omit them in the final event."""
        return msgspec.structs.replace(self, encoded_output=list(items))

    def with_store(self, store: bool) -> Response:
        """A copy that tells whether the service stores the response."""
        return msgspec.structs.replace(self, _store=store)

    @property
    def id(self) -> str:
        """The response's id; empty if the server gives none."""
        return self._id if isinstance(self._id, str) else ""

    @property
    def status(self) -> str | None:
        """``completed``, ``failed``, ``incomplete``, ``in_progress``, ``queued``, or a newer status."""
        return _text_or_none(self._status)

    @property
    def model(self) -> str | None:
        """The name of the model, as the service gives it."""
        return _text_or_none(self._model)

    @property
    def store(self) -> bool | None:
        """Whether the service stores the response; ``None`` if unknown."""
        return self._store if isinstance(self._store, bool) else None

    @property
    def tells_parent(self) -> bool:
        """Whether the server tells which response this one continues; ``null`` counts."""
        return self._previous_response_id is not msgspec.UNSET

    @property
    def previous_response_id(self) -> str | None:
        """The id of the response that this one continues."""
        return _text_or_none(self._previous_response_id)

    def continues(self, parent: str) -> bool:
        """Whether the response is said to continue the one with this id.

        LiteLLM's proxy wraps the ids of responses, but not the ids that name their parents.
        """
        named = self.previous_response_id
        return named == parent or (named is not None and named == _wrapped_by_litellm(parent))

    @cached_property
    def output(self) -> list[JSON]:
        """The output items, as plain JSON."""
        return [msgspec.json.decode(item) for item in self.encoded_output or ()]

    @cached_property
    def usage(self) -> JSON | None:
        """The token counts, as plain JSON; ``None`` if unknown."""
        return _object_or_none(self.encoded_usage)

    @cached_property
    def error(self) -> JSON | None:
        """The error of a failed response, as plain JSON with ``code`` and ``message``."""
        return _object_or_none(self.encoded_error)

    @cached_property
    def incomplete_details(self) -> JSON | None:
        """The details of an incomplete response, as plain JSON with ``reason``."""
        return _object_or_none(self.encoded_incomplete_details)

    @property
    def has_transformed_input(self) -> bool:
        """Whether the service reports changes of the context, be it none."""
        return self.encoded_input_transformations is not _ABSENT

    @cached_property
    def input_transformations(self) -> list[JSON]:
        """The items of the context that the service removed, as plain JSON with ``id`` and ``reason``."""
        found = msgspec.json.decode(self.encoded_input_transformations)
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    @property
    def output_text(self) -> str:
        """The text of all output messages, joined."""
        return "".join(
            text for item in self.output if item.get("type") == "message" for text in texts_of(item)
        )

    @property
    def parsed(self) -> Any:
        """The text of the last output message, parsed as the type given as ``text_format``.

        ``None`` without a ``text_format``, if the response is not completed, and if the message is a refusal
        or has no text.

        Raises:
            ValueError: the text does not match the type, because the service ignored ``strict``.
        """
        # Neither a cached property nor with local variables: a traceback would show the output.
        parse: Callable[[str], Any] | None = self.__dict__.get(_PARSE)
        if parse is None or not self._text_to_parse:
            return None
        if _PARSED not in self.__dict__:
            self.__dict__[_PARSED] = parse(self._text_to_parse)
        return self.__dict__[_PARSED]

    @property
    def _text_to_parse(self) -> str:
        messages = [item for item in self.output if item.get("type") == "message"]
        if self.status != "completed" or not messages or _is_refusal(messages[-1]):
            return ""
        return "".join(texts_of(messages[-1]))

    def parse_with(self, parse: Callable[[str], Any]) -> None:
        """Set the function that computes ``parsed`` from the text."""
        self.__dict__[_PARSE] = parse

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The completed calls of function and custom tools, as plain JSON, in the order of the output.

        Each has ``call_id``, ``name`` and ``arguments`` (or ``input``) as strings. Calls without a
        ``call_id`` are omitted, because no output can refer to them, and so are calls that were answered: by
        the service within the response, or by ``Conversation.run``.
        """
        calls = [call for item in self.output if (call := _call_to_answer(item)) is not None]
        if not calls:
            return calls
        answered = {item.get("call_id") for item in self.output if item.get("type") in _OUTPUTS}
        answered |= self.__dict__.get(_ANSWERED, frozenset())
        return [call for call in calls if call["call_id"] not in answered]

    def answer(self, call_ids: Iterable[str]) -> None:
        """Omit these calls from ``tool_calls``: they have an output."""
        self.__dict__[_ANSWERED] = frozenset(call_ids)

    def __repr__(self) -> str:
        return f"<Response {self.id} {self.status}>"


def _wrapped_by_litellm(response_id: str) -> str | None:
    """The id within an id such as ``resp_`` and Base64 of ``litellm:…;response_id:…``; ``None`` in others."""
    try:
        parts = b64decode(response_id.removeprefix("resp_"), validate=True).decode()
    except ValueError:
        return None
    prefix, _, wrapped = parts.rpartition(";response_id:")
    return wrapped if prefix.startswith("litellm:") else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object_or_none(encoded: Raw) -> JSON | None:
    try:
        value = msgspec.json.decode(encoded)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_refusal(message: JSON) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


def _call_to_answer(item: JSON) -> ToolCall | None:
    if not is_call_to_answer(item) or item.get("status") not in (None, "completed"):
        return None
    if not isinstance(item.get("call_id"), str):
        return None
    # Missing strings become empty ones, so that callers can rely on the keys.
    odd = {
        name: "" for name in ("name", CALLS_TO_ANSWER[item["type"]]) if not isinstance(item.get(name), str)
    }
    return cast(ToolCall, {**item, **odd} if odd else item)


def texts_of(message: JSON) -> Iterator[str]:
    """The text of each part of a message."""
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "output_text" and isinstance(part.get("text"), str):
            yield part["text"]
