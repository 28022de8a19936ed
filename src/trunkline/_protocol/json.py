"""Plain JSON: checked copies of what callers give, and its bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ..errors import ConfigurationError

JSON: TypeAlias = dict[str, Any]

# Python refuses to read and write integers of more than 4300 digits, which are at least this many bits.
_MAX_INTEGER_BITS: Final = 14_000

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def encode(value: object) -> bytes:
    """Plain JSON as bytes, in the shortest form; half surrogates and huge integers included."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def decode(encoded: bytes | msgspec.Raw) -> Any:
    """The value that these bytes hold; half surrogates as in `repaired`.

    Raises:
        ValueError: they are not JSON, or hold a number that Python cannot.
        RecursionError: they are nested too deeply.
    """
    try:
        return _decode(encoded)
    except msgspec.ValidationError:
        raise  # a number out of range
    except msgspec.DecodeError:
        return _decode(repaired(bytes(encoded)))


def repaired(encoded: bytes) -> bytes:
    """The same JSON without half surrogates: a text may be cut between the halves of a pair.

    msgspec refuses the halves, `json` does not. They become U+FFFD, as in every text decoder, because no
    encoder could write them again.

    Raises:
        ValueError: they are not JSON, even so.
        RecursionError: they are nested too deeply.
    """
    text = json.dumps(json.loads(encoded.decode()), ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def copy_json(value: Any, where: str) -> tuple[Any, bool]:
    """A copy of the containers of plain JSON that shares its strings, and whether there are numbers in it.

    Subclasses of the JSON types, such as string enumerations, become what they are subclasses of.

    Raises:
        ConfigurationError: something in it is not JSON; the message names the place and the type.
    """
    numbers: list[bool] = []
    try:
        return _copy(value, where, numbers), bool(numbers)
    except RecursionError:
        raise ConfigurationError(f"{where} is nested too deeply for JSON", argument=root(where)) from None


def root(where: str) -> str:
    """The name of the argument that a place is in: ``input`` of ``input[3].content``."""
    return where.partition("[")[0].partition(".")[0]


def _copy(value: Any, where: str, numbers: list[bool]) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    if type(value) is dict or isinstance(value, Mapping):
        return _copy_object(value, where, numbers)
    if isinstance(value, list | tuple):
        return [_copy(part, f"{where}[{index}]", numbers) for index, part in enumerate(value)]
    number = _number(value)
    if number is None:
        shown = "a number out of range" if isinstance(value, int | float) else f"a {type(value).__name__}"
        raise ConfigurationError(
            f"{where} is {shown}, which is not JSON; give dicts, lists, strings, numbers, booleans or None",
            argument=root(where),
        )
    numbers.append(True)
    return number


def _copy_object(value: Mapping[Any, Any], where: str, numbers: list[bool]) -> JSON:
    copied: JSON = {}
    for key, part in value.items():
        if type(key) is not str:
            key = _plain_key(key, where)
        # The common leaf is handled here: a call a string would be most of the cost.
        copied[key] = part if type(part) is str else _copy(part, f"{where}.{key}", numbers)
    return copied


def _plain_key(key: object, where: str) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise ConfigurationError(
        f"{where} has a key of type {type(key).__name__}; JSON keys are strings", argument=root(where)
    )


def _number(value: object) -> bool | int | float | None:
    """A number as JSON can say it; ``None`` when it cannot."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MAX_INTEGER_BITS else None
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return None
