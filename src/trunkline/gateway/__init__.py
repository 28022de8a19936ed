"""Gateway: warm lanes for many processes, machines and languages.

``trunkline serve`` runs it; ``uvicorn trunkline.gateway:app`` does as well. The configuration is the file
that ``TRUNKLINE_CONFIG`` names, and the environment. Needs the extra ``gateway``.
"""

from __future__ import annotations

import os
from typing import Any

from .app import Gateway
from .configuration import Configuration, read

__all__ = ["Configuration", "Gateway", "app", "read"]

_gateway: Gateway | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The gateway as an ASGI application, configured when the server starts it, or at the first request."""
    global _gateway
    if _gateway is None or scope["type"] == "lifespan":
        _gateway = Gateway(read(None, os.environ))
    await _gateway(scope, receive, send)
