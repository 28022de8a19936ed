"""Structured output: a Python type as ``text.format``, and the output text as a value of that type.

pydantic models are recognised by their methods, without an import of pydantic. msgspec handles dataclasses,
msgspec structs and TypedDicts.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from ._protocol.json import JSON
from .arguments import shown
from .errors import ConfigurationError
from .tools.strict import strict

_REFERENCE = "#/$defs/"
_QUOTED = re.compile("'.*'", re.DOTALL)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The type of an output text.

    Attributes:
        name: the name of the type.
        definition: the ``text.format`` of a request: a strict JSON schema.
    """

    name: str
    definition: JSON = field(repr=False)
    _decode: Callable[[str], Any]

    @classmethod
    def of(cls, kind: object) -> TextFormat:
        """The format of a pydantic model, a dataclass, a msgspec struct or a TypedDict.

        Raises:
            ConfigurationError: it is another kind of type, or a strict schema cannot describe a field of it.
        """
        if not isinstance(kind, type) or not _is_record(kind):
            _refuse(
                f"text_format is {shown(kind)}: give a class that is a pydantic model, a dataclass, "
                "a msgspec.Struct or a TypedDict"
            )
        return _made(kind)

    def parse(self, text: str) -> Any:
        """The value of an output text.

        Raises:
            ValueError: the text does not fit the type; the message says where, without content.
        """
        try:
            return self._decode(text)
        except Exception as error:
            del text  # a traceback would show it
            misfit = ValueError(f"the output text does not fit {self.name}: {_reason(error)}")
        raise misfit from None

    def field(self, text: object) -> JSON:
        """The ``text`` field of a request: this format and the other options of ``text``.

        Raises:
            ConfigurationError: the options include another format.
        """
        options = dict(text) if isinstance(text, Mapping) else {}
        if options.get("format") is not None:
            _refuse("text_format is given together with text['format']: leave one of them out")
        return {**options, "format": self.definition}


def with_format(values: Mapping[str, Any], known: object, text_format: TextFormat | None) -> dict[str, Any]:
    """The fields of a request with the format in their ``text``.

    Args:
        values: the fields that are given.
        known: the ``text`` that applies if ``values`` has none.
        text_format: the format; ``None`` leaves the fields unchanged.

    Raises:
        ConfigurationError: ``text`` includes another format.
    """
    if text_format is None:
        return dict(values)
    return {**values, "text": text_format.field(values.get("text", known))}


@functools.lru_cache(maxsize=128)
def _made(kind: type) -> TextFormat:
    try:
        schema, decode = _of_pydantic(kind) if _is_pydantic(kind) else _of_msgspec(kind)
    except Exception as error:
        reason = str(error).rsplit("\n", 1)[-1]
        raise ConfigurationError(
            f"text_format: {kind.__name__} has a field without a JSON schema: {reason}",
            argument="text_format",
        ) from error
    definition = {
        "type": "json_schema",
        "name": _NOT_IN_A_NAME.sub("_", kind.__name__)[:64],
        "schema": _strict(schema, kind.__name__),
        "strict": True,
    }
    return TextFormat(kind.__name__, definition, decode)


def _is_pydantic(kind: type) -> bool:
    return callable(getattr(kind, "model_json_schema", None)) and callable(
        getattr(kind, "model_validate_json", None)
    )


def _is_record(kind: type) -> bool:
    return (
        _is_pydantic(kind)
        or dataclasses.is_dataclass(kind)
        or issubclass(kind, msgspec.Struct)
        or typing.is_typeddict(kind)
    )


def _of_pydantic(kind: Any) -> tuple[JSON, Callable[[str], Any]]:
    return _with_root(kind.model_json_schema()), kind.model_validate_json


def _of_msgspec(kind: type) -> tuple[JSON, Callable[[str], Any]]:
    (reference,), components = msgspec.json.schema_components([kind], ref_template=_REFERENCE + "{name}")
    return _with_root({**reference, "$defs": components}), msgspec.json.Decoder(kind).decode


def _with_root(schema: JSON) -> JSON:
    """The schema with an object as its root: the service refuses a reference there."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    definitions = dict(schema["$defs"])
    root = definitions[reference.removeprefix(_REFERENCE)]
    if f'"{reference}"' not in msgspec.json.encode(definitions).decode():  # not a recursive type
        del definitions[reference.removeprefix(_REFERENCE)]
    return {**root, "$defs": definitions} if definitions else root


def _strict(schema: JSON, name: str) -> JSON:
    if schema.get("type") != "object":
        _refuse(f"text_format: {name} is not a JSON object: give a type with named fields")
    try:
        return strict(schema, f"text_format: in {name} the field")
    except ConfigurationError as error:
        raise ConfigurationError(str(error), argument="text_format") from None


def _reason(error: Exception) -> str:
    """The reason without content: pydantic and msgspec quote values of the text."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        is_known = isinstance(error, msgspec.MsgspecError)
        return _QUOTED.sub("'…'", str(error)) if is_known else type(error).__name__
    faults = errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the text'}: {fault['type']}" for fault in faults)


def _refuse(message: str) -> NoReturn:
    raise ConfigurationError(message, argument="text_format")
