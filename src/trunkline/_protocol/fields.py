"""Fields of a request, checked and encoded once, and the checks of a whole request.

Names are those of the Responses API; unknown fields are passed on unchanged. Unset arguments, and ``None``
inside option objects (``reasoning``, ``text`` …), stay off the wire, because the service refuses an explicit
``null`` in many places. Schemas and metadata are sent unchanged.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from ..errors import ConfigurationError
from .history import History
from .items import Item
from .json import JSON, copy_json, decode_strictly, encode

ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"

_REFUSED: Final = {
    "stream": "turns are always streamed; remove it",
    "stream_options": "it has no effect over a WebSocket; remove it",
    "background": "background responses have no stream; use the HTTP API for them",
    "background_options": "background responses have no stream; use the HTTP API for them",
    "betas": "it is no field of the Responses API; give the client headers={'OpenAI-Beta': …}",
    "type": "trunkline sets it; remove it",
    "stream_id": "trunkline chooses the lane; remove it",
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
_ACTING_FIELDS: Final = frozenset({"conversation", "prompt"})
_OWN_CONTEXT: Final = frozenset({"previous_response_id", "conversation", "prompt"})
_HARMLESS_TOOLS: Final = frozenset(
    {
        "apply_patch",
        "custom",
        "file_search",
        "function",
        "image_generation",
        "local_shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Tools that change nothing on the service's side: the caller executes them, or they only read or draw."""
_NAMED_TOOLS: Final = frozenset({"function", "custom"})


class _Field:
    """One field of a request: a private copy of its value, and its encoded form."""

    __slots__ = ("encoded", "has_numbers", "source")

    def __init__(self, name: str, value: object) -> None:
        self.source, self.has_numbers = copy_json(value, name)
        sent = _without_none(self.source) if name in _OPTION_OBJECTS else self.source
        self.encoded = encode(name) + b":" + encode(sent)

    @classmethod
    def received(cls, name: str, value: bytes) -> _Field:
        """A field whose value keeps its bytes, unless it is an option object with a ``null``."""
        field = cls.__new__(cls)
        field.source, field.has_numbers = decode_strictly(value), True
        if name in _OPTION_OBJECTS and b"null" in value:
            value = encode(_without_none(field.source))
        field.encoded = encode(name) + b":" + value
        return field

    def is_unchanged(self, value: object) -> bool:
        """Whether the caller's value still has the same JSON."""
        if self.source is value:
            return True
        try:
            # Python: True == 1 == 1.0. JSON: all different, so values with numbers are compared as bytes too.
            return self.source == value and (not self.has_numbers or encode(self.source) == encode(value))
        except (TypeError, ValueError, RecursionError):
            return False


class Fields:
    """All fields of a request except its items and its parent. Immutable.

    Attributes:
        model: the model's name.
        store: ``True``, ``False``, or ``None`` for the service's default, which is to store.
        head: the encoded fields, joined by commas.
    """

    __slots__ = ("_fields", "head", "model", "store")

    model: str
    store: bool | None
    head: bytes

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Fields:
        """Check and encode the fields of a request.

        Raises:
            ConfigurationError: a field is invalid; the message names it and the expected value.
        """
        return cls._following({}, values)

    @classmethod
    def received(cls, members: Mapping[str, bytes]) -> Fields:
        """The fields of a request that is passed on: the bytes of each value are kept.

        Only ``null`` is removed, at the top level and inside option objects.

        Args:
            members: the encoded value of each field.

        Raises:
            ValueError: a value is not JSON, an object has the same key twice, or there is no ``model``.
            RecursionError: the JSON is nested too deeply.
        """
        fields = {name: _Field.received(name, value) for name, value in members.items() if value != b"null"}
        if "model" not in fields or not isinstance(fields["model"].source, str):
            raise ValueError("a request has a model")
        return cls._of(fields)

    def naming(self, parent_id: str) -> Fields:
        """The same fields with the caller's own ``previous_response_id``."""
        return self._of({**self._fields, "previous_response_id": _Field("previous_response_id", parent_id)})

    def following(self, values: Mapping[str, Any]) -> Fields:
        """The fields of the next request, which share unchanged fields with these.

        Returns:
            These fields themselves if all values are unchanged.

        Raises:
            ConfigurationError: as `of`.
        """
        later = self._following(self._fields, values)
        parts, later_parts = self._fields.values(), later._fields.values()
        is_same = len(parts) == len(later_parts) and all(map(operator.is_, parts, later_parts))
        return self if is_same else later

    def overridden(self, values: Mapping[str, Any]) -> Fields:
        """These fields, with some replaced, or unset by ``None``."""
        if not values:
            return self
        return self._following(self._fields, {**self.values(), **values})

    def values(self) -> dict[str, Any]:
        """The fields as plain JSON. Callers must not change it."""
        return {name: field.source for name, field in self._fields.items()}

    def including(self, entry: str) -> Fields:
        """These fields with an entry added to ``include``, unless it has it already."""
        include = self.get("include") or []
        return self if entry in include else self.overridden({"include": [*include, entry]})

    def prewarming(self) -> Fields:
        """These fields for a warm-up over HTTP, which does not have ``generate``."""
        options = self.get("prompt_cache_options")
        given = options if isinstance(options, Mapping) else {}
        return self.overridden({"prompt_cache_options": {**given, "prewarm": True}})

    @property
    def brings_context(self) -> bool:
        """Whether the caller names a context on the server. Trunkline does not chain on such a response."""
        return not _OWN_CONTEXT.isdisjoint(self._fields)

    @property
    def names_parent(self) -> bool:
        """Whether the caller gave ``previous_response_id`` or ``conversation``, which may hold tool calls."""
        return not {"previous_response_id", "conversation"}.isdisjoint(self._fields)

    @property
    def acts(self) -> bool:
        """Whether a response may have side effects on the server, so that a retry may repeat them.

        A ``prompt`` may bring tools of its own.
        """
        return not _ACTING_FIELDS.isdisjoint(self._fields) or tools_act(self.get("tools"))

    def get(self, name: str) -> Any:
        """The value of a field as plain JSON; ``None`` if it is unset."""
        field = self._fields.get(name)
        return field.source if field is not None else None

    _fields: dict[str, _Field]

    @classmethod
    def _following(cls, known: Mapping[str, _Field], values: Mapping[str, Any]) -> Fields:
        # 1. Unset arguments stay off the wire; unchanged fields are neither checked nor encoded again.
        fields: dict[str, _Field] = {}
        for name, value in values.items():
            if value is None:
                continue
            field = known.get(name)
            if field is None or not field.is_unchanged(value):
                _check(name, value)
                field = _Field(name, value)
            fields[name] = field
        # 2. Rules that concern more than one field.
        if "model" not in fields:
            _refuse("model", "model is missing; give the name of a model, such as 'gpt-6-astra'")
        if "previous_response_id" in fields and "conversation" in fields:
            _refuse(
                "conversation", "previous_response_id and conversation cannot be combined; give one of them"
            )
        return cls._of(fields)

    @classmethod
    def _of(cls, fields: dict[str, _Field]) -> Fields:
        made = cls()
        made._fields = fields
        made.model = fields["model"].source
        made.store = fields["store"].source if "store" in fields else None
        # The encoded fields are joined once for all frames.
        made.head = b",".join(field.encoded for field in fields.values())
        return made

    def __repr__(self) -> str:
        return f"<Fields {self.model}: {', '.join(self._fields)}>"  # names only, no values


def tools_act(tools: object) -> bool:
    """Whether one of the tools may have side effects on the server: all that are not known to have none."""
    return isinstance(tools, list) and any(_acts(tool) for tool in tools)


def _acts(tool: object) -> bool:
    if not isinstance(tool, dict):
        return True
    kind = tool.get("type")
    return tools_act(tool.get("tools")) if kind == "namespace" else kind not in _HARMLESS_TOOLS


def adds_acting_tools(item: Item) -> bool:
    """Whether an item adds tools to the context that may have side effects on the server."""
    return item.kind == "additional_tools" and tools_act(item.json().get("tools"))


def brings_context(fields: Mapping[str, Any]) -> bool:
    """Whether one of the fields names a context on the server."""
    return any(fields.get(name) is not None for name in _OWN_CONTEXT)


def owed_calls(asked: History, fields: Fields) -> frozenset[str]:
    """The ids of calls that need an output before the next request: not those of async tools."""
    owed = asked.open_calls
    if owed:
        owed -= _async_calls(asked, fields)
    return owed - _answered_by_name(asked) if owed else owed


def check_calls(asked: History, fields: Fields) -> None:
    """Refuse an input with tool calls without an output, or with outputs without a call.

    The service would refuse such a request. Calls of async tools may stay without an output, and an output
    without a ``call_id`` answers a call of the same function.

    Raises:
        ConfigurationError: the message names the call ids.
    """
    if not asked.open_calls and not asked.orphan_outputs:
        return
    # A reference may stand for the missing call or output.
    if any(item.kind == "item_reference" for item in asked):
        return
    if owed := owed_calls(asked, fields):
        _refuse(
            "input",
            f"the input has tool calls without an output: {', '.join(sorted(owed))}; add an item "
            "of type 'function_call_output' (or the output type of that tool) for each call_id, or remove "
            "the calls",
        )
    # The context on the server may hold the call.
    if asked.orphan_outputs and not fields.names_parent:
        _refuse(
            "input",
            f"the input has tool outputs without a call: {', '.join(sorted(asked.orphan_outputs))}; "
            "add the calls that they answer, or remove the outputs",
        )


def _async_calls(asked: History, fields: Fields) -> set[str]:
    """The ids of the open calls whose tool has ``async: true``, or that say so themselves."""
    names = set(_async_names(fields.get("tools")))
    calls = []
    for item in asked:
        if item.kind == "additional_tools":
            names.update(_async_names(item.json().get("tools")))
        elif item.is_call and item.call_id in asked.open_calls:
            calls.append(item.json())
    return {call["call_id"] for call in calls if call.get("async") is True or call.get("name") in names}


def _answered_by_name(asked: History) -> set[str]:
    """The ids of the open calls that outputs without a ``call_id`` answer, each the oldest that it may."""
    waiting: dict[bytes, list[str]] = {}
    answered = set()
    for item in asked:
        if item.is_call and item.call_id in asked.open_calls:
            waiting.setdefault(_function(item.json()), []).append(item.call_id)
        elif item.kind == "function_call_output" and item.call_id is None:
            calls = waiting.get(_function(item.json()))
            if calls:
                answered.add(calls.pop(0))
    return answered


def _function(item: JSON) -> bytes:
    """What a call has in common with an output without a ``call_id``; ``direct`` is the default caller."""
    return encode([item.get("name"), item.get("namespace"), item.get("caller") or {"type": "direct"}])


def _async_names(tools: object) -> Iterator[str]:
    """The names of the async tools in a list of tools, in namespaces too."""
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            if tool.get("async") is True and isinstance(tool.get("name"), str):
                yield tool["name"]
            yield from _async_names(tool.get("tools"))


def _check(name: str, value: Any) -> None:
    """Refuse a value that the service would refuse, or that trunkline sets itself.

    Other fields are checked by the service only.
    """
    if name in _REFUSED:
        _refuse(name, f"{name} cannot be given: {_REFUSED[name]}")
    match name:
        case "model" | "previous_response_id" if not isinstance(value, str) or not value.strip():
            shown = "an empty string" if isinstance(value, str) else type(value).__name__
            _refuse(name, f"{name} must be a non-empty string, not {shown}")
        case "instructions" if not isinstance(value, str):
            _refuse(name, f"instructions must be a string, not {type(value).__name__}")
        case "store" if not isinstance(value, bool):
            _refuse(name, f"store must be True, False or None, not {type(value).__name__}")
        case "include" if not _is_list_of(value, str):
            _refuse(name, "include must be a list of strings, such as ['reasoning.encrypted_content']")
        case "tools" if not _is_list_of(value, Mapping):
            _refuse(name, "tools must be a list of tool definitions, each a dict with a type")
        case "tools":
            for index, tool in enumerate(value):
                kind = tool.get("type")
                if not isinstance(kind, str) or not kind:
                    _refuse(name, f"tools[{index}] has no type; give one, such as 'function'")
                if kind in _NAMED_TOOLS and (not isinstance(tool.get("name"), str) or not tool["name"]):
                    _refuse(name, f"tools[{index}] of type {kind!r} has no name; give a non-empty string")


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
