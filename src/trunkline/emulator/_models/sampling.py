"""Sample values for JSON schemas, filled with words of a message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}
_MAX_DEPTH = 12
_PLACE = re.compile(r"\b(?:in|for|of|to|at|from|near|called|named)\s+([^\W\d_][\w'-]*(?:\s+[A-Z][\w'-]*)*)")
_CAPITALISED = re.compile(r"(?<!^)(?<![.!?]\s)\b[A-Z][\w'-]*(?:\s+[A-Z][\w'-]*)*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def subjects(text: str) -> list[str]:
    """The subjects of a message: its proper names, else the words that follow a preposition."""
    names = [name for name in _CAPITALISED.findall(text) if name != "I"]
    return names or _PLACE.findall(text)


@dataclass(slots=True, repr=False)
class Sampler:
    """Creates values for schemas. `subject` fills strings, numbers in `text` fill numbers."""

    text: str
    subject: str
    root: dict[str, Any]
    _used_numbers: int = 0

    def value(self, schema: Any, depth: int = 0) -> Any:
        """A value that is valid under `schema`."""
        if not isinstance(schema, dict):
            return {}
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._member(schema["enum"])
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                return self.value(self._alternative(schema[name], depth), depth + 1)
        kind = schema.get("type") or ("object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        return self._of_kind(kind, schema, depth)

    def _of_kind(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "boolean":
            return True
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        return None if kind == "null" else self._string(schema)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        for _ in range(_MAX_DEPTH):
            if "$ref" not in schema:
                break
            target: Any = self.root
            for key in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                if key:
                    target = target.get(key, {})
            schema = {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
        merged = dict(schema)
        for part in merged.pop("allOf", []):
            resolved = self._resolved(part)
            properties = {**merged.get("properties", {}), **resolved.get("properties", {})}
            required = [*merged.get("required", []), *resolved.get("required", [])]
            merged = {**resolved, **merged}
            if properties:
                merged |= {"properties": properties, "required": required}
        return merged

    def _alternative(self, alternatives: list[Any], depth: int) -> Any:
        # Beyond half of the depth limit, null ends a recursive schema (a tree whose children are trees).
        nulls = [one for one in alternatives if isinstance(one, dict) and one.get("type") == "null"]
        others = [one for one in alternatives if one not in nulls]
        return nulls[0] if nulls and (depth >= _MAX_DEPTH // 2 or not others) else others[0]

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        names = required if required or depth else list(properties)
        if depth > _MAX_DEPTH:
            names = []
        return {name: self.value(properties.get(name, {"type": "string"}), depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        if prefix:
            return [self.value(one, depth + 1) for one in prefix]
        wanted = max(int(schema.get("minItems") or 0), 0 if depth >= _MAX_DEPTH // 2 else 1)
        count = min(wanted, int(schema.get("maxItems", wanted)))
        return [self.value(schema.get("items") or {"type": "string"}, depth + 1) for _ in range(count)]

    def _member(self, members: list[Any]) -> Any:
        lowered = self.text.lower()
        for member in members:
            if isinstance(member, str) and member and member.lower() in lowered:
                return member
        return members[0]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        found = _NUMBER.findall(self.text)
        value: float = float(found[self._used_numbers % len(found)]) if found else 1.0
        self._used_numbers += 1
        step = schema.get("multipleOf") or (1 if whole else None)
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if low is not None and value <= low:
            value = low + (step or 0.5) if "exclusiveMinimum" in schema else low
        if high is not None and value >= high:
            value = high - (step or 0.5) if "exclusiveMaximum" in schema else high
        if step:
            value = (
                -(-value // step) * step if low is not None and value < low + step else value // step * step
            )
        return int(value) if whole else value

    def _string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self.subject or self.text or "text"
        if len(text) < int(schema.get("minLength") or 0):
            text = text.ljust(int(schema["minLength"]), "x")
        return text[: int(schema.get("maxLength", len(text)))]


def sample(schema: dict[str, Any], text: str, subject: str | None = None) -> Any:
    """Return a value valid under `schema`, filled from `text`; `subject`, if given, fills strings."""
    if subject is None:
        subject = next(iter(subjects(text)), text)
    return Sampler(text, subject, schema).value(schema)
