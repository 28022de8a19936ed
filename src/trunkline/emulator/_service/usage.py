"""Token usage, estimated from sizes and reported in the service's format."""

from __future__ import annotations

from typing import Any

_CACHE_FROM = 1024
_CACHE_STEP = 128


def text_tokens(text: str | bytes) -> int:
    """Estimate the tokens of a text: four characters each."""
    return (len(text) + 3) // 4


def cached_tokens(common: int) -> int:
    """Cached tokens of a common prefix: none below 1,024 tokens, then multiples of 128."""
    return common // _CACHE_STEP * _CACHE_STEP if common >= _CACHE_FROM else 0


def usage(*, input_tokens: int, cached: int, output_tokens: int, reasoning_tokens: int) -> dict[str, Any]:
    """The ``usage`` of a response; `output_tokens` includes reasoning tokens."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": input_tokens - cached},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }
