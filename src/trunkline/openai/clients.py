"""HTTP clients for the openai SDK."""

from __future__ import annotations

from typing import Any, Unpack

import httpx2

from .async_transport import AsyncTransport
from .options import Options
from .sync_transport import Transport


def async_http_client(*, inner: Any = None, **options: Unpack[Options]) -> httpx2.AsyncClient:
    """An HTTP client for ``AsyncOpenAI(http_client=…)``.

    Args:
        inner: as for `AsyncTransport`.
        options: as for `AsyncTransport`.

    Raises:
        ConfigurationError: an option is wrong.
    """
    # The SDK replaces the default timeout of an HTTP client by its own.
    return httpx2.AsyncClient(transport=AsyncTransport(inner=inner, **options), follow_redirects=True)


def http_client(*, inner: Any = None, **options: Unpack[Options]) -> httpx2.Client:
    """An HTTP client for ``OpenAI(http_client=…)``.

    Args:
        inner: as for `Transport`.
        options: as for `Transport`.

    Raises:
        ConfigurationError: an option is wrong.
    """
    return httpx2.Client(transport=Transport(inner=inner, **options), follow_redirects=True)


__all__ = ["async_http_client", "http_client"]
