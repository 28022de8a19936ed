"""Prints the lower bounds of the dependencies as exact requirements, for `pip install --constraint`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def oldest(project: Path = PROJECT) -> list[str]:
    """One requirement for each dependency of the library and of its extras that has a lower bound."""
    table = tomllib.loads(project.read_text())["project"]
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    found = (re.match(r"([\w.-]+).*?>=([\d.]+)", requirement) for group in groups for requirement in group)
    return [f"{bound[1]}=={bound[2]}" for bound in found if bound is not None]


if __name__ == "__main__":
    sys.stdout.write("\n".join(oldest()) + "\n")
