"""A request: fixed fields and items, joined to one frame.

The argument names are those of the Responses API, and fields that we do not know pass through untouched.
A field is checked and encoded once; a frame is a join of bytes. Unset arguments, and ``None`` inside option
objects (``reasoning``, ``text`` …), stay off the wire, because the service refuses an explicit ``null`` in
many places. Items, schemas and metadata are sent as they are; reasoning that cannot be sent again, because
it has neither an id that the service may look up nor encrypted content, is left out.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from ..errors import ConfigurationError
from .history import History
from .json import copy_json, encode

ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"

_REFUSED: Final = {
    "stream": "a turn is always streamed; leave it out",
    "stream_options": "it has no meaning over a WebSocket; leave it out",
    "background": "a response in the background has no stream; use the HTTP API for it",
    "type": "trunkline sets it; leave it out",
    "stream_id": "lanes are chosen by trunkline; leave it out",
    "generate": "use warm() for a request without output",
    "input": "give the input as its own argument",
}
_OPTION_OBJECTS: Final = frozenset(
    {
        "context_management",
        "conversation",
        "moderation",
        "prompt",
        "prompt_cache_options",
        "reasoning",
        "text",
        "tool_choice",
    }
)
_KEPT_AS_GIVEN: Final = frozenset({"schema", "variables", "metadata"})
_OWN_CONTEXT: Final = frozenset({"previous_response_id", "conversation", "prompt"})
_ACTING_TOOLS: Final = frozenset({"mcp"})
_NAMED_TOOLS: Final = frozenset({"function", "custom"})


class _Field:
    """One field of a request: what it was made of, and its bytes."""

    __slots__ = ("encoded", "has_numbers", "source")

    def __init__(self, name: str, value: object) -> None:
        self.source, self.has_numbers = copy_json(value, name)
        sent = _without_none(self.source) if name in _OPTION_OBJECTS else self.source
        self.encoded = encode(name) + b":" + encode(sent)

    def is_unchanged(self, value: object) -> bool:
        """Whether the caller's object still says the same. Python holds True == 1, JSON does not."""
        if self.source is value:
            return True
        try:
            return self.source == value and (not self.has_numbers or encode(self.source) == encode(value))
        except (TypeError, ValueError, RecursionError):
            return False


class Fields:
    """The fixed fields of requests: everything but the items and the parent. Immutable.

    Attributes:
        model: the model's name.
        store: ``True``, ``False``, or ``None`` where the service decides (its default is to store).
        head: the encoded fields, joined.
    """

    __slots__ = ("_fields", "head", "model", "store")

    model: str
    store: bool | None
    head: bytes

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Fields:
        """Check and encode the fields of a request.

        Raises:
            ConfigurationError: a field is wrong; the message names it and what is expected.
        """
        return cls._following({}, values)

    def following(self, values: Mapping[str, Any]) -> Fields:
        """The fields of the next request, sharing what did not change since this one.

        Where nothing did, they are these.
        """
        later = self._following(self._fields, values)
        parts, later_parts = self._fields.values(), later._fields.values()
        is_same = len(parts) == len(later_parts) and all(map(operator.is_, parts, later_parts))
        return self if is_same else later

    def overridden(self, values: Mapping[str, Any]) -> Fields:
        """These fields, with some replaced (or, by ``None``, unset)."""
        if not values:
            return self
        return self._following(self._fields, {**self.values(), **values})

    def values(self) -> dict[str, Any]:
        """The fields as plain JSON; not to be changed."""
        return {name: field.source for name, field in self._fields.items()}

    def including(self, what: str) -> Fields:
        """These fields with one more entry in ``include``."""
        include = self.values().get("include", [])
        return self if what in include else self.overridden({"include": [*include, what]})

    @property
    def brings_context(self) -> bool:
        """The caller names a context of the server's, which trunkline neither knows nor chains on."""
        return not _OWN_CONTEXT.isdisjoint(self._fields)

    @property
    def names_parent(self) -> bool:
        """The caller gave ``previous_response_id`` or ``conversation``, so calls may have been made there."""
        return not {"previous_response_id", "conversation"}.isdisjoint(self._fields)

    @property
    def acts(self) -> bool:
        """A response may change something beyond itself, so that asking twice is not harmless."""
        return "conversation" in self._fields or any(
            tool.get("type") in _ACTING_TOOLS for tool in self.get("tools") or ()
        )

    def get(self, name: str) -> Any:
        """One field as plain JSON; ``None`` when unset."""
        field = self._fields.get(name)
        return field.source if field is not None else None

    _fields: dict[str, _Field]

    @classmethod
    def _following(cls, known: Mapping[str, _Field], values: Mapping[str, Any]) -> Fields:
        fields: dict[str, _Field] = {}
        for name, value in values.items():
            if value is None:
                continue
            field = known.get(name)
            if field is None or not field.is_unchanged(value):
                _check(name, value)
                field = _Field(name, value)
            fields[name] = field
        return cls._made(fields)

    @classmethod
    def _made(cls, fields: dict[str, _Field]) -> Fields:
        if "model" not in fields:
            _refuse("model", "model is missing; give the name of a model, such as 'gpt-6-astra'")
        if "previous_response_id" in fields and "conversation" in fields:
            _refuse(
                "conversation", "previous_response_id and conversation cannot be combined; give one of them"
            )
        made = cls()
        made._fields = fields
        made.model = fields["model"].source
        made.store = fields["store"].source if "store" in fields else None
        made.head = b",".join(field.encoded for field in fields.values())
        return made

    def __repr__(self) -> str:
        return f"<Fields {self.model}: {', '.join(self._fields)}>"  # names only, never the content


def check_calls(asked: History, fields: Fields) -> None:
    """Refuse what the service would refuse: calls without an output, and outputs without a call.

    Raises:
        ConfigurationError: the message names the call ids.
    """
    if not asked.open_calls and not asked.orphan_outputs:
        return
    if any(item.kind == "item_reference" for item in asked):
        return  # what is missing here may be what is referred to
    if asked.open_calls:
        _refuse(
            "input",
            f"the input has tool calls without an output: {_listed(asked.open_calls)}; add an item of type "
            "'function_call_output' (or the output type of that tool) for each call_id, or remove the calls",
        )
    if asked.orphan_outputs and not fields.names_parent:
        _refuse(
            "input",
            f"the input has tool outputs without a call: {_listed(asked.orphan_outputs)}; "
            "add the calls that they answer, or remove them",
        )


def _listed(call_ids: Iterable[str]) -> str:
    return ", ".join(sorted(call_ids))


def _check(name: str, value: Any) -> None:
    if name in _REFUSED:
        _refuse(name, f"{name} cannot be given: {_REFUSED[name]}")
    if name in ("model", "previous_response_id") and (not isinstance(value, str) or not value.strip()):
        shown = "an empty string" if isinstance(value, str) else type(value).__name__
        _refuse(name, f"{name} must be a non-empty string, not {shown}")
    if name == "instructions" and not isinstance(value, str):
        _refuse(name, f"instructions must be a string, not {type(value).__name__}")
    if name == "store" and not isinstance(value, bool):
        _refuse(name, f"store must be True, False or None, not {type(value).__name__}")
    if name == "include" and not _is_list_of(value, str):
        _refuse(name, "include must be a list of strings, such as ['reasoning.encrypted_content']")
    if name == "tools":
        _check_tools(value)


def _check_tools(tools: Any) -> None:
    if not _is_list_of(tools, Mapping):
        _refuse("tools", "tools must be a list of tool definitions, each a dict with a type")
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        if not isinstance(kind, str) or not kind:
            _refuse("tools", f"tools[{index}] needs a type, such as 'function'")
        if kind in _NAMED_TOOLS and (not isinstance(tool.get("name"), str) or not tool["name"]):
            _refuse("tools", f"tools[{index}] is a tool of type {kind!r} and needs a name")


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, kind) for part in value)


def _refuse(argument: str, message: str) -> NoReturn:
    raise ConfigurationError(message, argument=argument)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: part if name in _KEPT_AS_GIVEN else _without_none(part)
            for name, part in value.items()
            if part is not None
        }
    if isinstance(value, list):
        return [_without_none(part) for part in value]
    return value
