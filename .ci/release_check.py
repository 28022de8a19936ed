"""Checks that a tag can be released: ``python .ci/release_check.py v0.2.0``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = (
    "src/trunkline/__init__.py",
    "livekit-plugins-trunkline/livekit/plugins/trunkline/version.py",
)


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """What has to be done before the tag can be released."""
    found = []
    version = tag.removeprefix("v")
    for name in VERSIONS:
        declared = re.search(r'^__version__ = "(.+)"$', (root / name).read_text(), re.MULTILINE)
        if declared is None or declared[1] != version:
            found.append(f"{name} has not the version {version}")
    if not re.search(rf"^## {re.escape(version)} \(", (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        found.append(f"CHANGELOG.md has no entry {version}: run towncrier build --version {version}")
    if fragments := sorted(path.name for path in (root / "changelog.d").glob("*.md")):
        found.append(f"changelog.d still has {len(fragments)} entries, such as {fragments[0]}")
    return found


if __name__ == "__main__":
    if open_points := problems(sys.argv[1]):
        sys.exit("\n".join(open_points))
