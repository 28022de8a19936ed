"""Contexts of all responses of an emulator, in a form in which two conversations can be compared."""

from __future__ import annotations

import itertools
import json
from typing import Any

from trunkline.emulator.testing import normalised


def shown(emulator: Any) -> list[list[dict[str, Any]]]:
    """The contexts of all responses, with the ids of calls by their order."""
    names: dict[str, str] = {}
    numbers = itertools.count()

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: names.setdefault(part, f"call {next(numbers)}") if name == "call_id" else named(part)
                for name, part in value.items()
            }
        return [named(part) for part in value] if isinstance(value, list) else value

    return [named(canonical(record.effective_context)) for record in emulator.responses.values()]


def canonical(items: Any) -> list[dict[str, Any]]:
    """Items without what is no part of their meaning, such as the white space of arguments."""
    found = normalised(items)
    for item in found:
        if item["type"] == "function_call":
            item["arguments"] = json.loads(item["arguments"])
    return [{name: value for name, value in item.items() if value is not None} for item in found]
