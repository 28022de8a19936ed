"""Check the branch coverage that a run of the tests under ``coverage run`` has measured.

    python -m tests.coverage_gate

The package must reach ``TOTAL_PERCENT``, and the modules without I/O, as listed in `test_layers`, 100 %. Only
the code that ``exclude_also`` in pyproject.toml describes is not counted; a comment must not exclude any.
"""

from __future__ import annotations

import re
import sys

from coverage import Coverage

from .test_layers import PURE, ROOT

TOTAL_PERCENT = 95.0
_EXCLUDING = re.compile(r"#\s*pragma:?\s*no\s*(cover|branch)", re.IGNORECASE)


def main() -> None:
    """Combine the data of all processes, report the gaps, and exit with the values below their bounds."""
    measured = Coverage()
    measured.combine()
    measured.save()
    failures = [f"{place}: a comment excludes this from coverage; remove it" for place in _excluded()]
    total = measured.report()
    if total < TOTAL_PERCENT:
        failures.append(f"coverage of trunkline is {total:.2f} %, below {TOTAL_PERCENT:g} %")
    pure = measured.report(
        include=[f"{ROOT.joinpath(*name.split('.'))}{end}" for name in PURE for end in (".py", "/*")]
    )
    if pure < 100:
        failures.append(f"coverage of the modules without I/O is {pure:.2f} %, below 100 %")
    if failures:
        sys.exit("\n".join(failures))


def _excluded() -> list[str]:
    return [
        f"{path.relative_to(ROOT.parent)}:{number}"
        for path in sorted(ROOT.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _EXCLUDING.search(line)
    ]


if __name__ == "__main__":
    main()
