"""pydantic models as parameters: hooks by which msgspec derives their schema and validates them.

pydantic is not imported: a class with pydantic's methods is a model.
"""

from __future__ import annotations

from typing import Any

import msgspec


def schema_hook(kind: Any) -> dict[str, Any]:
    """The schema of a model, which may hold ``$defs``."""
    _check(kind)
    schema: dict[str, Any] = kind.model_json_schema()
    return schema


def decode_hook(kind: Any, value: Any) -> Any:
    """A model from decoded JSON.

    Raises:
        ValueError: the value does not fit the model; the message says where.
    """
    _check(kind)
    try:
        # As JSON: a strict model accepts a date as a string only in JSON.
        return kind.model_validate_json(msgspec.json.encode(value))
    except ValueError as error:
        raise ValueError(_words(error)) from error


def _check(kind: Any) -> None:
    if not isinstance(kind, type) or not hasattr(kind, "model_validate_json"):
        raise NotImplementedError


def _words(error: ValueError) -> str:
    """The text of a ValidationError in one line, without the URL of pydantic's documentation."""
    details = getattr(error, "errors", None)
    if not callable(details):
        return str(error)
    return "; ".join(
        ".".join(str(part) for part in detail["loc"]) + f": {detail['msg']}" for detail in details()
    )
