"""Drop-in for the openai SDK: the Responses API over warm WebSockets, by one argument.

::

    client = AsyncOpenAI(http_client=trunkline.openai.async_http_client())

Every framework that takes a client of the SDK, or an HTTP client, gets the same. See docs/openai-sdk.md.
"""

from __future__ import annotations

from typing import Any, Unpack

import httpx2

from .async_transport import AsyncTransport
from .options import Options


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


__all__ = ["AsyncTransport", "Options", "async_http_client"]
