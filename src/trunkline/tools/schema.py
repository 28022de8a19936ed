"""The JSON schema of a function's parameters."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..errors import ConfigurationError
from .models import schema_hook
from .parameter import Parameter, description_in

_REFERENCE = "#/$defs/"


def schema_of(
    arguments: type[msgspec.Struct],
    parameters: Sequence[Parameter],
    described: dict[str, str],
    shown: str,
) -> dict[str, Any]:
    """The schema of the arguments of a function.

    Args:
        arguments: a struct with a field for each parameter.
        parameters: the parameters.
        described: descriptions from the docstring, for parameters whose annotation has none.
        shown: the name of the function, for errors.

    Raises:
        ConfigurationError: two types have the same name.
    """
    definitions: dict[str, Any] = {}

    def hook(kind: Any) -> dict[str, Any]:
        schema = dict(schema_hook(kind))
        _merge(definitions, schema.pop("$defs", {}), shown)
        return schema

    classes = _classes(parameter.type for parameter in parameters)
    (reference, *others), components = msgspec.json.schema_components(
        [arguments, *classes], schema_hook=hook, ref_template=_REFERENCE + "{name}"
    )
    schema: dict[str, Any] = components.pop(reference["$ref"].removeprefix(_REFERENCE))
    del schema["title"]
    for kind, other in zip(classes, others, strict=True):
        _describe_fields(kind, components.get(other.get("$ref", "").removeprefix(_REFERENCE), {}))
    for parameter in parameters:
        shape = schema["properties"][parameter.name]
        if parameter.name in described:
            shape.setdefault("description", described[parameter.name])
        if parameter.is_required:
            continue
        try:
            shape.setdefault("default", _as_json(parameter.default))
        except Exception:  # without a JSON form: the function has the default, and the model does not need it
            continue
    _merge(definitions, components, shown)
    if definitions:
        schema["$defs"] = definitions
    return schema


def _merge(definitions: dict[str, Any], others: dict[str, Any], shown: str) -> None:
    for name, schema in others.items():
        if definitions.setdefault(name, schema) != schema:
            raise ConfigurationError(
                f"two types of the parameters of {shown} are named {name}: rename one of them"
            )


def _as_json(default: Any) -> Any:
    if hasattr(type(default), "model_dump"):
        return default.model_dump(mode="json")
    return msgspec.to_builtins(default, str_keys=True)


def _classes(annotations: Iterable[Any]) -> list[Any]:
    """The types with fields, such as dataclasses, in these annotations and in their fields."""
    found: dict[Any, None] = {}
    waiting = list(annotations)
    while waiting:
        annotation = waiting.pop(0)
        waiting += typing.get_args(annotation)
        if _has_fields(annotation) and annotation not in found:
            found[annotation] = None
            waiting += _hints(annotation).values()
    return list(found)


def _has_fields(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    return typing.is_typeddict(kind) or any(
        hasattr(kind, mark) for mark in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__")
    )


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # msgspec resolved the types: only descriptions are lost
        return {}


def _describe_fields(kind: Any, schema: dict[str, Any]) -> None:
    properties = schema.get("properties", {})
    for name, hint in _hints(kind).items():
        if name in properties and (description := description_in(hint)):
            properties[name].setdefault("description", description)
