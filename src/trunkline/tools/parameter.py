"""Parameter of a function: its type for msgspec, with descriptions, constraints and default.

Descriptions and constraints are read from any object with the usual attributes, so that pydantic's ``Field``,
annotated_types and ``Doc`` work without an import of their libraries.
"""

from __future__ import annotations

import functools
import inspect
import operator
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union

import msgspec

from .models import schema_hook

NO_DEFAULT: Any = inspect.Parameter.empty

_WORDS = {"title": str, "description": str, "examples": list}
_LIMITS = {
    **dict.fromkeys(("gt", "ge", "lt", "le", "multiple_of"), int | float),
    **dict.fromkeys(("min_length", "max_length"), int),
    "pattern": str,
}


@dataclass(frozen=True, repr=False)  # defaults and descriptions are content
class Parameter:
    """A parameter whose value the model gives.

    Attributes:
        name: the name.
        type: the annotation, in which every description and constraint is a ``msgspec.Meta``.
        default: the default in the schema; ``NO_DEFAULT`` if the model must give a value.
        make_default: makes the argument if the model gives none; ``None``: the function has its own default.
    """

    name: str
    type: Any
    default: Any
    make_default: Callable[[], Any] | None

    @classmethod
    def of(cls, parameter: inspect.Parameter, annotation: Any) -> Parameter:
        """The parameter with this resolved annotation."""
        default = parameter.default
        if _is_field(default):
            annotation = Annotated[annotation, default]
            default = NO_DEFAULT
        make_default = None
        if default is NO_DEFAULT and (field := _field_with_default(annotation)) is not None:
            make_default = functools.partial(field.get_default, call_default_factory=True)
            default = make_default()
        return cls(parameter.name, with_meta(annotation), default, make_default)

    @property
    def is_required(self) -> bool:
        return self.default is NO_DEFAULT

    @property
    def takes_none(self) -> bool:
        """Whether null is a value of this parameter."""
        inner = typing.get_args(self.type)[0] if typing.get_origin(self.type) is Annotated else self.type
        return inner in (None, type(None), Any) or type(None) in typing.get_args(inner)


def description_in(annotation: Any) -> str | None:
    """The description in an annotation, if any."""
    while typing.get_origin(annotation) in (typing.Required, typing.NotRequired):
        (annotation,) = typing.get_args(annotation)
    if typing.get_origin(annotation) is not Annotated:
        return None
    return _facts(annotation.__metadata__, _WORDS).get("description")


def with_meta(annotation: Any) -> Any:
    """The annotation with descriptions and constraints of other libraries as ``msgspec.Meta``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _annotated(with_meta(arguments[0]), arguments[1:])
    if not arguments or origin is Literal:
        return annotation
    inner = tuple(with_meta(argument) for argument in arguments)
    if inner == arguments:
        return annotation
    if origin in (Union, UnionType):
        return functools.reduce(operator.or_, inner)
    return annotation.copy_with(inner) if hasattr(annotation, "copy_with") else origin[inner]


def _annotated(inner: Any, notes: tuple[Any, ...]) -> Any:
    theirs = [note for note in notes if not isinstance(note, msgspec.Meta)]
    own = [note for note in notes if isinstance(note, msgspec.Meta)]
    limited = _limited(inner, _facts(theirs, _LIMITS))
    if words := _facts(theirs, _WORDS):
        own.insert(0, msgspec.Meta(**words))  # first: the last one takes precedence
    return functools.reduce(lambda annotation, meta: Annotated[annotation, meta], own, limited)


def _limited(inner: Any, limits: dict[str, Any]) -> Any:
    """The type with these constraints; of a union, the members that support them.

    A constraint that msgspec does not support, as for ``Decimal``, is left out: the function can check it.
    """
    if not limits:
        return inner
    try:
        limited = Annotated[inner, msgspec.Meta(**limits)]
        msgspec.json.schema(limited, schema_hook=schema_hook)
    except Exception:
        if typing.get_origin(inner) not in (Union, UnionType):
            return inner
        members = [_limited(member, limits) for member in typing.get_args(inner)]
        return functools.reduce(operator.or_, members)
    return limited


def _facts(notes: Iterable[Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """The attributes with these names and types. The first object with an attribute takes precedence."""
    found: dict[str, Any] = {}
    for note in notes:
        if isinstance(note, str):
            given: dict[str, Any] = {"description": inspect.cleandoc(note)}
        elif isinstance(note, type):
            continue
        else:
            given = {name: getattr(note, name, None) for name in kinds}
            given["description"] = given.get("description") or getattr(note, "documentation", None)
            if isinstance(inner := getattr(note, "metadata", None), list | tuple):  # of pydantic's Field
                given |= _facts(inner, kinds)
        for name, value in given.items():
            if name in kinds and isinstance(value, kinds[name]):
                found.setdefault(name, value)
    return found


def _is_field(value: Any) -> bool:
    """Whether it is a result of pydantic's ``Field(…)``."""
    return callable(getattr(value, "is_required", None)) and callable(getattr(value, "get_default", None))


def _field_with_default(annotation: Any) -> Any:
    notes = annotation.__metadata__ if typing.get_origin(annotation) is Annotated else ()
    fields = [note for note in notes if _is_field(note)]
    return next((field for field in reversed(fields) if not field.is_required()), None)
