"""Route: the server or proxy to connect to, from a URL and the proxy settings.

Pure, except that ``route_to`` reads the proxy variables of the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from ..errors import ConnectFailed
from .environment import proxy_of

_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443, "socks4": 1080, "socks5": 1080}


@dataclass(frozen=True)
class Route:
    """The TCP destination of a WebSocket or HTTP URL.

    Attributes:
        target: host and port of the server, for messages.
        host: the host to connect to: the server, or its proxy.
        port: the port to connect to.
        proxy: the URL of the proxy, which may hold a password; ``None`` for a direct connection.
        secure: use TLS to the server.
        secure_proxy: use TLS to the proxy.
    """

    target: str
    host: str
    port: int
    proxy: str | None = field(repr=False)
    secure: bool
    secure_proxy: bool

    def __str__(self) -> str:
        if self.proxy is None:
            return self.target
        return f"{self.target} through the proxy {authority(self.host, self.port)}"


def route_to(url: str, proxy: str | None) -> Route:
    """The route to a ``ws``, ``wss``, ``http`` or ``https`` URL.

    Args:
        url: the URL of the server.
        proxy: the URL of a proxy; empty for none; ``None`` for the proxy of the environment.

    Raises:
        ConnectFailed: one of the URLs is invalid. The message does not quote it.
    """
    server = _split(url, "the server's URL", ("ws", "wss", "http", "https"))
    secure = server.scheme in ("wss", "https")
    host, port = _destination(server)
    target = authority(host, port)
    origin = "the proxy's URL"
    if proxy is None:
        proxy = proxy_of(url)
        origin = f"the proxy's URL in {'HTTPS_PROXY' if secure else 'HTTP_PROXY'} or ALL_PROXY"
    if not proxy:
        return Route(target, host, port, None, secure, False)
    proxy = _normal(proxy)
    middle = _split(proxy, origin, ("http", "https", "socks5", "socks4"))
    return Route(target, *_destination(middle), proxy, secure, middle.scheme == "https")


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _normal(proxy: str) -> str:
    """The proxy's URL in the form of picows and python-socks: with a scheme, and a port for SOCKS."""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme, rest = proxy.split("://", 1)
    # socks5h resolves names at the proxy, which picows does for socks5 too.
    scheme = scheme.lower().replace("socks5h", "socks5")
    place = rest.split("/", 1)[0].rstrip("?#")
    if scheme.startswith("socks") and not re.search(r":\d+$", place):
        place = f"{place.rstrip(':')}:{_DEFAULT_PORTS.get(scheme, 1080)}"
    return f"{scheme}://{place}"


def _split(url: str, what: str, schemes: tuple[str, ...]) -> SplitResult:
    # Messages do not quote the URL: it may hold a password or a key.
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is not a number
    except ValueError:
        raise ConnectFailed(f"{what} is not a valid URL", fault="final") from None
    if parts.scheme not in schemes:
        problem = f"{what} has the scheme {parts.scheme!r}; use one of {', '.join(schemes)}"
        raise ConnectFailed(problem, fault="final")
    if not parts.hostname:
        raise ConnectFailed(f"{what} has no host", fault="final")
    return parts


def _destination(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


__all__ = ["Route", "authority", "route_to"]
