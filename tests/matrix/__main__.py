"""Print the page: ``python -m tests.matrix > docs/faults.md``."""

from __future__ import annotations

import sys

from .page import page

sys.stdout.write(page())
