"""Signature of a Python function: a JSON schema for the model, and validation of the model's arguments."""

from __future__ import annotations

import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..errors import ConfigurationError
from ..surrogates import mended
from . import docstring
from .models import decode_hook, schema_hook
from .parameter import Parameter
from .schema import schema_of
from .strict import strict as strict_schema

_REFUSED = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only, but models pass arguments by name; remove the /",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values; use one list parameter instead",
    inspect.Parameter.VAR_KEYWORD: "takes arguments of any name; declare each one, or use one dict parameter",
}

_OR_NOT_STRICT = ", or leave out strict"


@dataclass(frozen=True, repr=False)  # defaults and descriptions are content
class Signature:
    """Name, description and parameters of a function.

    Attributes:
        name: the name; ``None`` for lambdas.
        description: the docstring without the descriptions of parameters; may be empty.
        parameters: a JSON schema of an object, with its definitions.
        is_async: whether a call must be awaited.
    """

    name: str | None
    description: str
    parameters: dict[str, Any]
    is_async: bool
    _decoder: msgspec.json.Decoder[msgspec.Struct]
    _nullable: frozenset[str]
    _make_defaults: dict[str, Callable[[], Any]]

    @classmethod
    def of(cls, function: Callable[..., Any], *, strict: bool = False) -> Signature:
        """The signature of a function, bound method, ``functools.partial`` or object with ``__call__``.

        Args:
            function: the function.
            strict: the schema follows the rules for ``strict: true``: the model gives every parameter, with
                null for a default.

        Raises:
            ConfigurationError: it cannot be called with JSON; the message has the reason and the remedy.
        """
        code = layers(function)[-1]
        shown = getattr(code, "__qualname__", type(function).__qualname__)
        if inspect.isclass(code):
            raise ConfigurationError(f"{shown} is a class; give a function or a callable instance")
        parameters = list(_parameters(function, code, shown))
        description, described = docstring.split(_doc(function, code), _names(function, code))
        nullable = frozenset(
            parameter.name
            for parameter in parameters
            if strict and not parameter.is_required and not parameter.takes_none
        )
        arguments = msgspec.defstruct(
            "Arguments",
            [_field(parameter, parameter.name in nullable) for parameter in parameters],
            kw_only=True,
            forbid_unknown_fields=True,
            module=__name__,
        )
        schema = schema_of(arguments, parameters, described, shown)
        return cls(
            name=_name(function, code),
            description=description,
            parameters=strict_schema(schema, f"strict=True for {shown}: the parameter", _OR_NOT_STRICT)
            if strict
            else schema,
            is_async=inspect.iscoroutinefunction(code),
            _decoder=msgspec.json.Decoder(arguments, dec_hook=decode_hook),
            _nullable=nullable,
            _make_defaults={
                parameter.name: parameter.make_default
                for parameter in parameters
                if parameter.make_default is not None
            },
        )

    def keywords(self, arguments: str) -> dict[str, Any]:
        """The keyword arguments of a JSON object. An empty string and null count as an empty object.

        Raises:
            ValueError: the text is not JSON, or does not fit the signature; the message says where.
        """
        text = arguments.strip()
        given = self._decoded("{}" if text in ("", "null") else text)
        found = {name: make() for name, make in self._make_defaults.items()}
        for name in given.__struct_fields__:
            value = getattr(given, name)
            if value is not msgspec.UNSET and not (value is None and name in self._nullable):
                found[name] = value
        return found

    def _decoded(self, arguments: str) -> msgspec.Struct:
        try:
            return self._decoder.decode(arguments)
        except RecursionError:
            raise ValueError("the arguments are nested too deeply") from None
        except ValueError as error:
            try:
                return self._decoder.decode(_mended(arguments))
            except (ValueError, RecursionError):
                raise error from None


def layers(function: Callable[..., Any]) -> list[Any]:
    """The function, the functions that its partials wrap, and last the one with the annotations."""
    found: list[Any] = [function]
    while isinstance(found[-1], functools.partial):
        found.append(found[-1].func)
    if not inspect.isroutine(found[-1]) and not inspect.isclass(found[-1]):
        found.append(type(found[-1]).__call__)
    return found


def _parameters(function: Callable[..., Any], code: Any, shown: str) -> Iterator[Parameter]:
    """The parameters whose values the model gives, checked."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        raise ConfigurationError(f"{shown} has no readable signature; wrap it in a Python function") from None
    try:
        hints = typing.get_type_hints(code, include_extras=True)
    except Exception as error:
        raise ConfigurationError(
            f"an annotation of {shown} cannot be resolved: {error}; define its types at module level"
        ) from error
    bound = _bound(function)
    for index, parameter in enumerate(parameters.values()):
        if parameter.name in bound:
            continue
        _check_kind(parameter, index, code, shown)
        found = Parameter.of(parameter, hints.get(parameter.name, Any))
        _check_type(found, shown)
        yield found


def _bound(function: Callable[..., Any]) -> set[str]:
    """The parameters that a ``functools.partial`` has bound by name."""
    return {name for layer in layers(function) for name in getattr(layer, "keywords", {})}


def _names(function: Callable[..., Any], code: Any) -> set[str]:
    """The names of all parameters that the docstring can describe, bound ones included."""
    try:
        parameters = set(inspect.signature(code).parameters)
    except (ValueError, TypeError):
        parameters = set()
    return parameters | set(inspect.signature(function).parameters) | _bound(function)


def _check_kind(parameter: inspect.Parameter, index: int, code: Any, shown: str) -> None:
    if parameter.kind in _REFUSED:
        star = str(parameter).split(":")[0].split("=")[0].strip()
        raise ConfigurationError(f"the parameter {star} of {shown} {_REFUSED[parameter.kind]}")
    if index == 0 and parameter.name in ("self", "cls") and "." in shown and inspect.isfunction(code):
        raise ConfigurationError(f"{shown} is an unbound method; give the method of an instance")


def _check_type(parameter: Parameter, shown: str) -> None:
    try:
        msgspec.json.schema(parameter.type, schema_hook=schema_hook)
        msgspec.json.Decoder(parameter.type, dec_hook=decode_hook)
    except Exception as error:
        reason = str(error).rsplit("\n", 1)[-1]
        raise ConfigurationError(
            f"the parameter {parameter.name} of {shown} has a type without a JSON schema: {reason}; "
            "use a built-in type, a dataclass, a TypedDict, a msgspec.Struct or a pydantic model"
        ) from error


def _field(parameter: Parameter, is_nullable: bool) -> tuple[str, Any] | tuple[str, Any, Any]:
    annotation = parameter.type | None if is_nullable else parameter.type
    if parameter.is_required:
        return parameter.name, annotation
    # An argument that is not given stays UNSET, so that the default of the function applies.
    return parameter.name, annotation, msgspec.UNSET


def _mended(arguments: str) -> str:
    """The JSON with two mistakes of models corrected, which msgspec refuses: 5.0 for 5, lone surrogates."""
    return mended(json.dumps(_with_integers(json.loads(arguments)), ensure_ascii=False))


def _with_integers(value: Any) -> Any:
    """Decoded JSON with integral floats as integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    return value


def _name(function: Callable[..., Any], code: Any) -> str | None:
    if code.__name__ == "__call__":
        owner = layers(function)[-2]
        return getattr(owner, "__name__", type(owner).__name__)
    return code.__name__ if code.__name__ != "<lambda>" else None


def _doc(function: Callable[..., Any], code: Any) -> str:
    return code.__doc__ or (layers(function)[-2].__doc__ if code.__name__ == "__call__" else "") or ""
