"""Checks of arguments and settings.

Each raises a `ConfigurationError` that names the argument, its value and the remedy. Numbers, booleans and
``None`` are shown; other values are shown by their type, because they may hold a key or content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Any, NoReturn

from .errors import ConfigurationError


def check_kind(
    value: object, argument: str, kind: type | tuple[type, ...], remedy: str, *, optional: bool = False
) -> None:
    """Check that a value is an instance of ``kind``, or ``None`` if it is optional."""
    if not isinstance(value, kind) and not (optional and value is None):
        refuse(argument, value, remedy)


def check_number(
    value: object,
    argument: str,
    *,
    unit: str = "seconds",
    above: float | None = None,
    none_means: str | None = None,
    finite: bool = False,
) -> None:
    """Check that a value is a number from 0 on.

    Args:
        value: the given value.
        argument: the name of the argument, for the message.
        unit: the unit, for the message.
        above: the number must be greater than this. Default: 0 is accepted too.
        none_means: the effect of ``None``, for the message. Default: ``None`` is refused.
        finite: refuse infinity too.
    """
    if value is None and none_means is not None:
        return
    remedy = f"give {unit}, from 0 on" if above is None else f"give {unit}, more than {above:g}"
    if none_means is not None:
        remedy += f", or None to {none_means}"
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        refuse(argument, value, remedy)
    if value < 0 or (above is not None and value <= above) or (finite and math.isinf(value)):
        refuse(argument, value, remedy)


def check_count(value: object, argument: str, *, most: int | None = None) -> None:
    """Check that a value is a whole number from 1 to ``most``."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if not is_count or value < 1 or (most is not None and value > most):  # type: ignore[operator]
        bounds = "of at least 1" if most is None else f"from 1 to {most}"
        refuse(argument, value, f"give a whole number {bounds}")


def check_flag(value: object, argument: str, *, optional: bool = False) -> None:
    """Check that a value is ``True`` or ``False``, or ``None`` if it is optional."""
    choices = "True, False or None" if optional else "True or False"
    check_kind(value, argument, bool, f"give {choices}", optional=optional)


def check_function(value: object, argument: str, remedy: str, *, may_be_async: bool = True) -> None:
    """Check that a value is callable or ``None``, and not an async function if nothing awaits the result."""
    if value is None:
        return
    if not callable(value):
        refuse(argument, value, remedy)
    if not may_be_async and is_async(value):
        raise ConfigurationError(
            f"{argument} is an async function, and nothing awaits it: {remedy}", argument=_name(argument)
        )


def is_async(function: object) -> bool:
    """Whether a call returns a coroutine: an async function, or an object with an async ``__call__``."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def check_headers(value: object) -> None:
    """Check that headers are a mapping with strings as names. No message shows their values."""
    if not isinstance(value, Mapping):
        refuse("headers", value, 'give a dict of strings, such as {"x-team": "voice"}')
    for name in value:
        if not isinstance(name, str):
            refuse("headers", name, "give header names as strings", what="the name of a header")


def refuse(argument: str, value: object, remedy: str, *, what: str | None = None) -> NoReturn:
    """Raise the error for a wrong argument.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(f"{what or argument} is {shown(value)}: {remedy}", argument=_name(argument))


def shown(value: Any) -> str:
    """A value as messages may show it: without keys and content."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "empty" if value == "" else f"of type {type(value).__name__}"


def _name(argument: str) -> str:
    return argument.rpartition(".")[2]
