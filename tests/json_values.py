"""Plain JSON of every kind, for property-based tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

HALVES = st.sampled_from(["\ud800", "\udfff", "cut \ud83d", "\udc00\ud800"])
TEXTS = st.text(max_size=8) | HALVES
KEYS = st.text(max_size=8)
"""Without half surrogates: two keys would be the same once they are mended."""
NUMBERS = (
    st.integers(-5, 5)
    | st.sampled_from([2**53 + 1, 2**64, -(2**63) - 1, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(KEYS, parts, max_size=3),
    max_leaves=8,
)
JSON_OBJECTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(KEYS, JSON_VALUES, max_size=4)


def whole(value: object) -> Any:
    """Decoded JSON with half surrogates as a text decoder reads them."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
