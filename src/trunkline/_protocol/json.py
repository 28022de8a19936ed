"""Plain JSON: encoding, decoding, and checked copies of values given by callers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ..errors import ConfigurationError
from ..surrogates import mended

JSON: TypeAlias = dict[str, Any]

# Python refuses to read and write integers of more than 4300 digits, which are at least this many bits.
_MAX_INTEGER_BITS: Final = 14_000

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def encode(value: object) -> bytes:
    """Plain JSON as bytes without white space; half surrogates are mended."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError):
        # msgspec refuses lone surrogates and integers of more than 64 bits.
        text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        return mended(text).encode()


def settle(value: JSON) -> tuple[JSON, bytes]:
    """Plain JSON as it goes on the wire, with half surrogates mended, and its encoding."""
    try:
        return value, _encode(value)
    except (UnicodeEncodeError, OverflowError):
        encoded = encode(value)
        return json.loads(encoded), encoded


def decode(encoded: bytes | msgspec.Raw) -> Any:
    """The value of encoded JSON; half surrogates are mended.

    Raises:
        ValueError: the bytes are not JSON, or contain a number that Python cannot represent.
        RecursionError: the JSON is nested too deeply.
    """
    try:
        return _decode(encoded)
    except msgspec.ValidationError:
        raise  # a number out of range
    except msgspec.DecodeError:
        return _decode(repaired(bytes(encoded)))


def decode_strictly(encoded: bytes) -> Any:
    """The value of encoded JSON in which no object has the same key twice.

    Raises:
        ValueError: as `decode`; an object has the same key twice, or a string has half a surrogate.
        RecursionError: as `decode`.
    """
    value = _decode(encoded)
    # A key that occurs twice, white space and escapes make the two differ; the last two are harmless.
    if _encode(value) != encoded:
        json.loads(encoded, object_pairs_hook=_without_repeated_keys)
    return value


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> JSON:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def repaired(encoded: bytes) -> bytes:
    """The same JSON with half surrogates mended, which msgspec refuses.

    Raises:
        ValueError: the bytes are not JSON.
        RecursionError: the JSON is nested too deeply.
    """
    return mended(json.dumps(json.loads(encoded.decode()), ensure_ascii=False)).encode()


def copy_json(value: Any, where: str) -> tuple[Any, bool]:
    """A copy of plain JSON, and whether it contains numbers or booleans. Strings are shared, not copied.

    Instances of subclasses, such as string enumerations, become instances of the JSON type.

    Args:
        value: the value.
        where: its name in error messages, such as ``input[3]``.

    Raises:
        ConfigurationError: a part is not JSON; the message names its position and its type.
    """
    numbers: list[bool] = []
    try:
        return _copy(value, where, numbers), bool(numbers)
    except RecursionError:
        raise ConfigurationError(
            f"{where} is nested too deeply for JSON; remove levels or references to itself",
            argument=root(where),
        ) from None


def root(where: str) -> str:
    """The argument name in a position: ``input`` of ``input[3].content``."""
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
    number: bool | int | float
    if isinstance(value, bool):
        number = value
    elif isinstance(value, int) and value.bit_length() <= _MAX_INTEGER_BITS:
        number = int(value)
    elif isinstance(value, float) and math.isfinite(value):
        number = float(value)
    else:
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
            if not isinstance(key, str):
                raise ConfigurationError(
                    f"{where} has a key of type {type(key).__name__}; JSON keys are strings",
                    argument=root(where),
                )
            key = str.__str__(key)
        # Strings, the most frequent values, are copied here: a call for each would dominate the cost.
        copied[key] = part if type(part) is str else _copy(part, f"{where}.{key}", numbers)
    return copied
