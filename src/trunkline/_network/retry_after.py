"""The ``retry-after`` header."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime


def retry_after_s(value: str | None) -> float | None:
    """Seconds to wait, from a number of them or from an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d*)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
