"""Response headers of the service."""

from __future__ import annotations

ORGANIZATION = "OpenAI-Organization"
LIMIT_REQUESTS = 10_000
LIMIT_TOKENS = 30_000_000


def answer_headers(
    request_id: str, *, organization: str | None, requests: int, tokens: int
) -> dict[str, str]:
    """Headers of an HTTP answer or upgrade.

    Args:
        request_id: identifies the request.
        organization: the organization that the request named, or None.
        requests: number of requests so far.
        tokens: number of tokens used so far.
    """
    return {
        "x-request-id": request_id,
        "openai-version": "2020-10-01",
        "openai-organization": organization or "org-emulator",
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": str(LIMIT_REQUESTS),
        "x-ratelimit-limit-tokens": str(LIMIT_TOKENS),
        "x-ratelimit-remaining-requests": str(max(LIMIT_REQUESTS - requests % LIMIT_REQUESTS, 0)),
        "x-ratelimit-remaining-tokens": str(max(LIMIT_TOKENS - tokens % LIMIT_TOKENS, 0)),
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-reset-tokens": "0s",
    }
