"""Drop-in for the openai SDK: the Responses API over warm WebSockets, by one argument.

::

    client = AsyncOpenAI(http_client=trunkline.openai.async_http_client())
    client = OpenAI(http_client=trunkline.openai.http_client())

Every framework that takes a client of the SDK, or an HTTP client, gets the same. See docs/openai-sdk.md.
"""

from .async_transport import AsyncTransport
from .clients import async_http_client, http_client
from .options import Options
from .sync_transport import Transport

__all__ = ["AsyncTransport", "Options", "Transport", "async_http_client", "http_client"]
