"""What a Python function takes, as JSON schema for the model and as a check of what the model gives."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from .errors import ConfigurationError

_REFUSED = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only, but arguments come by name: take the / out",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values: make it one parameter, a list",
    inspect.Parameter.VAR_KEYWORD: "takes values of any name: write the names out, or make it one dict",
}


@dataclass(frozen=True)
class Signature:
    """A function from the outside.

    Attributes:
        name: ``None`` for lambdas and the like.
        description: the whole cleaned docstring; empty when there is none.
        parameters: a JSON schema of an object; its references are inside of it.
        is_async: a call has to be awaited.
    """

    name: str | None
    description: str
    parameters: dict[str, Any]
    is_async: bool
    _decoder: msgspec.json.Decoder[msgspec.Struct]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Signature:
        """Read a function, a bound method, a ``functools.partial`` or an object with ``__call__``.

        What is read of a plain function is kept as long as the function: a thousand conversations that have
        the same tools share it.

        Raises:
            ConfigurationError: it cannot be called with JSON; the message says why, and what to do.
        """
        if not isinstance(function, FunctionType):
            return cls._read(function)
        known = _KNOWN.get(function)
        if known is None:
            known = _KNOWN[function] = cls._read(function)
        return known

    @classmethod
    def _read(cls, function: Callable[..., Any]) -> Signature:
        code = layers(function)[-1]
        shown = getattr(code, "__qualname__", type(function).__qualname__)
        if inspect.isclass(code):
            raise ConfigurationError(f"the class {shown} is no function: give a function, or an instance")
        fields = [
            (parameter.name, annotation, parameter.default)
            for parameter, annotation in _parameters(function, code, shown)
        ]
        arguments = msgspec.defstruct(
            "Arguments",
            # What is not given stays UNSET, so that the function's own defaults hold, whatever they are.
            [
                (name, annotation)
                if default is inspect.Parameter.empty
                else (name, annotation, msgspec.UNSET)
                for name, annotation, default in fields
            ],
            kw_only=True,
            forbid_unknown_fields=True,
            module=__name__,
        )
        defaults = {name: default for name, _, default in fields if default is not inspect.Parameter.empty}
        return cls(
            name=_name(function, code),
            description=_doc(function, code),
            parameters=_schema(arguments, defaults),
            is_async=inspect.iscoroutinefunction(code),
            _decoder=msgspec.json.Decoder(arguments),
        )

    def keywords(self, arguments: str) -> dict[str, Any]:
        """The keyword arguments that a JSON object means.

        Raises:
            ValueError: it is no JSON, or does not fit; the message says where.
        """
        try:
            given = self._decoder.decode(arguments.strip() or "{}")
        except RecursionError:
            raise ValueError("the arguments are nested too deeply") from None
        values = ((name, getattr(given, name)) for name in given.__struct_fields__)
        return {name: value for name, value in values if value is not msgspec.UNSET}


_KNOWN: WeakKeyDictionary[FunctionType, Signature] = WeakKeyDictionary()


def layers(function: Callable[..., Any]) -> list[Any]:
    """The function, what its partials wrap, and last what has the annotations: an object's ``__call__``."""
    found: list[Any] = [function]
    while isinstance(found[-1], functools.partial):
        found.append(found[-1].func)
    if not inspect.isroutine(found[-1]) and not inspect.isclass(found[-1]):
        found.append(type(found[-1]).__call__)
    return found


def _parameters(
    function: Callable[..., Any], code: Any, shown: str
) -> Iterator[tuple[inspect.Parameter, Any]]:
    """The parameters that the model fills, each with its type, checked."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        raise ConfigurationError(f"the signature of {shown} cannot be read: wrap it in a function") from None
    try:
        hints = typing.get_type_hints(code, include_extras=True)
    except Exception as error:
        raise ConfigurationError(
            f"an annotation of {shown} cannot be resolved: {error}; define its types at the top of a module"
        ) from error
    bound = {name for layer in layers(function) for name in getattr(layer, "keywords", {})}
    for index, parameter in enumerate(parameters.values()):
        if parameter.name in bound:
            continue
        _check_kind(parameter, index, code, shown)
        annotation = hints.get(parameter.name, Any)
        _check_type(parameter, annotation, shown)
        yield parameter, annotation


def _check_kind(parameter: inspect.Parameter, index: int, code: Any, shown: str) -> None:
    if parameter.kind in _REFUSED:
        star = str(parameter).split(":")[0].split("=")[0].strip()
        raise ConfigurationError(f"the parameter {star} of {shown} {_REFUSED[parameter.kind]}")
    if index == 0 and parameter.name in ("self", "cls") and "." in shown and inspect.isfunction(code):
        raise ConfigurationError(f"{shown} is a method without its object: give the method of an instance")


def _check_type(parameter: inspect.Parameter, annotation: Any, shown: str) -> None:
    try:
        msgspec.json.schema(annotation)
        msgspec.json.Decoder(annotation)
    except Exception as error:
        reason = str(error).rsplit("\n", 1)[-1]
        raise ConfigurationError(
            f"the parameter {parameter.name} of {shown} has a type that JSON cannot carry: {reason}; "
            "use a built-in type, a dataclass, a TypedDict or a msgspec.Struct"
        ) from error


def _schema(arguments: type[msgspec.Struct], defaults: dict[str, Any]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = components.pop(reference["$ref"].removeprefix("#/$defs/"))
    del schema["title"]
    for name, default in defaults.items():
        try:
            schema["properties"][name].setdefault("default", msgspec.to_builtins(default, str_keys=True))
        except TypeError:
            continue  # the function knows what to do without the argument; the model need not
    if components:
        schema["$defs"] = components
    return schema


def _name(function: Callable[..., Any], code: Any) -> str | None:
    if code.__name__ == "__call__":
        owner = layers(function)[-2]
        return getattr(owner, "__name__", type(owner).__name__)
    return code.__name__ if code.__name__ != "<lambda>" else None


def _doc(function: Callable[..., Any], code: Any) -> str:
    doc = code.__doc__ or (layers(function)[-2].__doc__ if code.__name__ == "__call__" else "")
    return inspect.cleandoc(doc or "")
