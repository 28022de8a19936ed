"""Faults from plain data and from YAML or JSON files."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from .action import Action
from .fault import Fault
from .faults import Faults

# A gate is opened by a program; a file cannot hold one. A dict keeps the order of the fields.
_NAMES = dict.fromkeys(one.name for one in fields(Fault) if one.name != "gate")


def load_faults(path: str | Path) -> Faults:
    """Read faults from a YAML or JSON file: a list, or ``{"seed": …, "faults": […]}``.

    Raises:
        ValueError: an entry is not a valid fault; the message names the entry and the problem.
    """
    text = Path(path).read_text(encoding="utf-8")
    if Path(path).suffix == ".json":
        content = json.loads(text)
    else:
        import yaml

        content = yaml.safe_load(text)
    return parse_faults(content)


def parse_faults(content: Any) -> Faults:
    """Build faults from plain data, in the format of the files.

    Raises:
        ValueError: an entry is not a valid fault.
    """
    if isinstance(content, list):
        content = {"faults": content}
    if not isinstance(content, dict) or not isinstance(content.get("faults"), list):
        raise ValueError(
            f"expected a list of faults, or an object with 'faults' and 'seed'; got {type(content).__name__}"
        )
    faults = [_parse_fault(entry, index) for index, entry in enumerate(content["faults"])]
    return Faults(faults, seed=int(content.get("seed", 0)))


def describe(fault: Fault) -> dict[str, Any]:
    """Return a fault as plain data: its action and the fields that differ from their defaults."""
    blank = Fault(fault.action)
    given = {name: getattr(fault, name) for name in _NAMES if getattr(fault, name) != getattr(blank, name)}
    return {"action": str(fault.action)} | given


def _parse_fault(entry: Any, index: int) -> Fault:
    where = f"fault {index + 1}"
    if not isinstance(entry, dict) or "action" not in entry:
        raise ValueError(f"{where}: expected an object with an 'action'")
    unknown = set(entry) - _NAMES.keys()
    if unknown:
        names = ", ".join(sorted(map(repr, unknown)))
        raise ValueError(f"{where}: unknown field {names}; remove it or correct its name")
    try:
        action = Action(entry["action"])
    except ValueError:
        names = ", ".join(Action)
        raise ValueError(f"{where}: unknown action {entry['action']!r}; use one of {names}") from None
    details = dict(entry)
    if "fields" in details:
        details["fields"] = tuple(details["fields"])
    return Fault(**(details | {"action": action}))
