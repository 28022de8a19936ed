"""Print the page: ``python -m tests.openai.matrix > docs/openai-sdk-faults.md``."""

from __future__ import annotations

import sys

from .page import page

sys.stdout.write(page())
