"""The result of a tool as text for ``function_call_output``."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence, Set, ValuesView
from typing import Any

import msgspec

from ..surrogates import mended

_BUILTINS: tuple[Any, ...] = (str, bytes, int, float)


def result_text(result: Any) -> str:
    """A string unchanged, any other value as JSON.

    msgspec writes built-in types, dataclasses, TypedDicts, attrs classes, enums, dates, ``Decimal`` and
    ``UUID``. Other objects are written by their methods: pydantic models by ``model_dump``, paths by
    ``__fspath__``, arrays by ``tolist``, collections by their items, and other classes by their ``__str__``.
    No library is imported for this.

    Raises:
        TypeError: an object has none of these methods.
    """
    if isinstance(result, str):
        return mended(str.__str__(result))
    try:
        return msgspec.json.encode(result, enc_hook=_written).decode()
    except UnicodeEncodeError:  # a string inside holds half a surrogate pair
        plain = msgspec.to_builtins(result, enc_hook=_written, str_keys=True)
        return mended(json.dumps(plain, ensure_ascii=False, separators=(",", ":")))


def _written(value: Any) -> Any:
    """A value that msgspec can write, in place of one whose type it does not support."""
    kind: Any = type(value)
    if value is None or isinstance(value, bool):  # in this and the next case, the key of a dict
        return json.dumps(value)
    if isinstance(value, tuple | frozenset):
        return str(value)
    if callable(dump := getattr(kind, "model_dump", None)):
        return dump(value, mode="json")
    for builtin in _BUILTINS:  # subclasses, such as numpy's float64
        if isinstance(value, builtin):
            return builtin(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if callable(to_list := getattr(kind, "tolist", None)):
        return to_list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set | ValuesView) and not isinstance(value, memoryview):
        return list(value)
    if kind.__str__ is not object.__str__ and not isinstance(value, BaseException | type):
        return str(value)
    raise TypeError(f"objects of the type {kind.__name__} cannot be written as JSON")
