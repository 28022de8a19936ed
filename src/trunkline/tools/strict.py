"""Schemas for ``strict: true``, by the rules of the Responses API's structured outputs."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError

_NESTED_IN_DICTS = ("properties", "$defs")
_NESTED_IN_LISTS = ("anyOf", "prefixItems")


def strict(schema: dict[str, Any], place: str, remedy: str = "") -> dict[str, Any]:
    """The schema with every property required and no other properties allowed.

    Args:
        schema: a JSON schema.
        place: the described parameter or type, for errors, which append the names of fields.
        remedy: a further remedy, appended to errors.

    Raises:
        ConfigurationError: a part accepts any value, or any keys.
    """
    found = {key: value for key, value in schema.items() if key not in ("default", "discriminator")}
    if "oneOf" in found:
        found["anyOf"] = found.pop("oneOf")
    for key in _NESTED_IN_DICTS:
        if key in found:
            found[key] = {name: _part(part, f"{place} {name}", remedy) for name, part in found[key].items()}
    for key in _NESTED_IN_LISTS:
        if key in found:
            found[key] = [_part(part, place, remedy) for part in found[key]]
    if found.get("type") == "array" and "prefixItems" not in found:
        found["items"] = _part(found.get("items", {}), place, remedy)
    if found.get("type") == "object":
        if "properties" not in found or found.get("additionalProperties"):
            raise ConfigurationError(
                f"{place} takes keys of any name: make it a dataclass or a list of them{remedy}"
            )
        found |= {"required": list(found["properties"]), "additionalProperties": False}
    if "$ref" in found and len(found) > 1:  # no other keyword may stand beside a reference
        found["anyOf"] = [{"$ref": found.pop("$ref")}]
    return found


def _part(schema: dict[str, Any], place: str, remedy: str) -> dict[str, Any]:
    if not schema.keys() - {"title", "description", "default", "examples"}:
        raise ConfigurationError(f"{place} takes anything: give it a type{remedy}")
    return strict(schema, place, remedy)
