"""Checks of JSON values, with the service's error messages, codes and parameter paths.

A check takes a value and its path (``input[0].content``) and returns None or raises `ApiError`.
Larger checks are built from smaller ones, so that the shape of a request reads as a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .errors import ApiError

Check = Callable[[Any, str], None]


def kind(value: Any) -> str:
    """The service's name for the type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def wrong_type(path: str, expected: str, value: Any) -> ApiError:
    """The error for a value of the wrong type."""
    got = kind(value)
    return ApiError(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.",
        code="invalid_type",
        param=path,
    )


def unsupported_value(path: str, value: Any, supported: Iterable[str]) -> ApiError:
    """The error for a value of the right type that is not supported."""
    return ApiError(
        f"Invalid value: '{value}'. Supported values are: {_listing(supported, 'and')}.",
        code="invalid_value",
        param=path,
    )


def missing(path: str) -> ApiError:
    """The error for a missing parameter."""
    return ApiError(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def unknown(path: str) -> ApiError:
    """The error for an unknown parameter."""
    return ApiError(f"Unknown parameter: '{path}'.", code="unknown_parameter", param=path)


def anything(value: Any, path: str) -> None:
    """Accept any JSON value."""


def nullable(check: Check) -> Check:
    """Accept null and the values that `check` accepts."""

    def checked(value: Any, path: str) -> None:
        if value is not None:
            check(value, path)

    return checked


def boolean(value: Any, path: str) -> None:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)


def string(*, min_length: int = 0, max_length: int | None = None, pattern: str | None = None) -> Check:
    """Accept strings within length limits that match `pattern`, if given."""
    compiled = re.compile(pattern) if pattern else None

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if len(value) < min_length:
            raise _length(path, "string", "minimum", min_length, len(value))
        if max_length is not None and len(value) > max_length:
            raise _length(path, "string", "maximum", max_length, len(value))
        if compiled and not compiled.fullmatch(value):
            raise ApiError(
                f"Invalid '{path}': string does not match pattern."
                f" Expected a string that matches the pattern '{compiled.pattern}'.",
                code="invalid_value",
                param=path,
            )

    return checked


def integer(minimum: int | None = None, maximum: int | None = None) -> Check:
    """Accept integers within a range."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(path, "an integer", value)
        _in_range(value, path, "integer", minimum, maximum)

    return checked


def number(minimum: float | None = None, maximum: float | None = None) -> Check:
    """Accept numbers within a range."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise wrong_type(path, "a decimal number", value)
        _in_range(value, path, "decimal", minimum, maximum)

    return checked


def choice(*values: str) -> Check:
    """Accept one of several strings. Null is refused, as the service refuses it for enumerations."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, str):
            expected = f"one of {_listing(values, 'or')}" if len(values) > 1 else f"'{values[0]}'"
            raise wrong_type(path, expected, value)
        if value not in values:
            raise unsupported_value(path, value, values)

    return checked


def array(of: Check, *, min_length: int = 0, max_length: int | None = None, of_what: str = "values") -> Check:
    """Accept arrays whose elements all pass `of`."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(path, f"an array of {of_what}", value)
        if len(value) < min_length:
            raise _length(path, "array", "minimum", min_length, len(value))
        if max_length is not None and len(value) > max_length:
            raise _length(path, "array", "maximum", max_length, len(value))
        for index, element in enumerate(value):
            of(element, f"{path}[{index}]")

    return checked


def fields(
    required: Mapping[str, Check] | None = None,
    optional: Mapping[str, Check] | None = None,
    *,
    open_ended: bool = False,
) -> Check:
    """Accept objects with these fields; others are refused unless `open_ended`."""
    needed = dict(required or {})
    known = {**needed, **(optional or {})}

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        prefix = f"{path}." if path else ""
        for name in needed:
            if name not in value:
                raise missing(prefix + name)
        for name, element in value.items():
            check = known.get(name)
            if check is not None:
                check(element, prefix + name)
            elif not open_ended:
                raise unknown(prefix + name)

    return checked


def mapping(of: Check, *, max_keys: int | None = None, max_key_length: int | None = None) -> Check:
    """Accept objects with any keys whose values all pass `of`."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        if max_keys is not None and len(value) > max_keys:
            raise _length(path, "object", "maximum", max_keys, len(value))
        for name, element in value.items():
            if max_key_length is not None and len(name) > max_key_length:
                raise _length(f"{path}.{name}", "string", "maximum", max_key_length, len(name))
            of(element, f"{path}.{name}")

    return checked


def tagged(variants: Mapping[str, Check], *, tag: str = "type") -> Check:
    """Accept objects that pass the check named by their `tag`."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        if tag not in value:
            raise missing(f"{path}.{tag}")
        name = value[tag]
        if not isinstance(name, str):
            raise wrong_type(f"{path}.{tag}", "a string", name)
        if name not in variants:
            raise unsupported_value(f"{path}.{tag}", name, variants)
        variants[name](value, path)

    return checked


def by_type(expected: str, **checks: Check) -> Check:
    """Accept values of several JSON types, named ``str``, ``list``, ``dict``, each with its own check."""

    def checked(value: Any, path: str) -> None:
        check = checks.get(type(value).__name__)
        if check is None:
            raise wrong_type(path, expected, value)
        check(value, path)

    return checked


def _in_range(value: float, path: str, noun: str, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and value < minimum:
        raise ApiError(
            f"Invalid '{path}': {noun} below minimum value."
            f" Expected a value >= {minimum}, but got {value} instead.",
            code=f"{noun}_below_min_value",
            param=path,
        )
    if maximum is not None and value > maximum:
        raise ApiError(
            f"Invalid '{path}': {noun} above maximum value."
            f" Expected a value <= {maximum}, but got {value} instead.",
            code=f"{noun}_above_max_value",
            param=path,
        )


def _length(path: str, noun: str, bound: str, limit: int, got: int) -> ApiError:
    article = "an" if noun[0] in "ao" else "a"
    if got == 0:
        problem, code = f"empty {noun}", f"empty_{noun}"
    elif bound == "minimum":
        problem, code = f"{noun} too short", f"{noun}_below_min_length"
    else:
        problem, code = f"{noun} too long", f"{noun}_above_max_length"
    return ApiError(
        f"Invalid '{path}': {problem}. Expected {article} {noun} with {bound} length {limit},"
        f" but got {article} {noun} with length {got} instead.",
        code=code,
        param=path,
    )


def _listing(values: Iterable[str], conjunction: str) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 2:
        return "".join(quoted)
    comma = "," if len(quoted) > 2 else ""
    return f"{', '.join(quoted[:-1])}{comma} {conjunction} {quoted[-1]}"
