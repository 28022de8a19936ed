"""The HTTP transport for requests that are not answered over a WebSocket: the caller's, or one made here.

An HTTP client reads the proxies of the environment only if it makes its transports itself. Here they are read
for each URL, as for a WebSocket.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from .._network.environment import proxy_of
from .options import Options

_MAX_CONNECTIONS: Final = 1000
_MAX_KEPT_ALIVE: Final = 100
"""The limits of the openai SDK."""


class InnerTransports:
    """The HTTP transports of one transport: one for each proxy, unless the caller gives one.

    Args:
        httpx: the HTTP library.
        name: the class of its transports.
        given: the caller's transport; ``None`` for none.
        options: the TLS context and the proxy.
    """

    def __init__(self, httpx: ModuleType, name: str, given: Any, options: Options) -> None:
        self._httpx = httpx
        self._name = name
        self._given = given
        self._ssl_context = options.get("ssl_context")
        self._proxy = options.get("proxy")
        self._transports: dict[str | None, Any] = {}

    def for_url(self, url: str) -> Any:
        """The transport for a URL."""
        if self._given is not None:
            return self._given
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
        """All transports, for their end. Those made here are forgotten."""
        if self._given is not None:
            return [self._given]
        transports, self._transports = self._transports, {}
        return list(transports.values())


__all__ = ["InnerTransports"]
