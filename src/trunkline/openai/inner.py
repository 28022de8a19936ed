"""The HTTP transport for requests that are not answered over a WebSocket.

An HTTP client reads the proxies of the environment only if it makes its transports itself. Here they are read
for each URL, as for a WebSocket.
"""

from __future__ import annotations

import ssl
from types import ModuleType
from typing import Any, Final

from .._network.environment import proxy_of

_MAX_CONNECTIONS: Final = 1000
_MAX_KEPT_ALIVE: Final = 100
"""The limits of the openai SDK."""


class EnvironmentTransports:
    """One HTTP transport for each proxy.

    Args:
        httpx: the HTTP library.
        name: the class of its transports.
        ssl_context: as for `Client`.
        proxy: the URL of a proxy, or an empty string for none; ``None`` for that of the environment.
    """

    def __init__(
        self, httpx: ModuleType, name: str, ssl_context: ssl.SSLContext | None, proxy: str | None
    ) -> None:
        self._httpx = httpx
        self._name = name
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._transports: dict[str | None, Any] = {}

    def for_url(self, url: str) -> Any:
        """The transport for a URL."""
        proxy = (proxy_of(url) if self._proxy is None else self._proxy) or None
        if proxy not in self._transports:
            self._transports[proxy] = self._made(proxy)
        return self._transports[proxy]

    def _made(self, proxy: str | None) -> Any:
        httpx = self._httpx
        settings: dict[str, Any] = {} if self._ssl_context is None else {"verify": self._ssl_context}
        limits = httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_MAX_KEPT_ALIVE)
        if proxy is not None and "://" not in proxy:
            proxy = f"http://{proxy}"
        return getattr(httpx, self._name)(limits=limits, proxy=proxy, **settings)

    def taken(self) -> list[Any]:
        """All transports, which are forgotten here, for their end."""
        transports, self._transports = self._transports, {}
        return list(transports.values())


__all__ = ["EnvironmentTransports"]
