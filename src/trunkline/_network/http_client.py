"""HTTP client of httpx2 for one route, with the proxy and the certificates that a WebSocket uses."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import httpx2

from ..errors import ConnectFailed
from .http_proxy import ProxyTransport
from .route import Route, authority
from .tcp import SocketOption
from .websocket import default_ssl_context


class QuietURL(httpx2.URL):
    """A URL without its query as text: httpx2 logs URLs, and some gateways expect a key there."""

    def __str__(self) -> str:
        return super().__str__().partition("?")[0]

    def __repr__(self) -> str:
        return f"QuietURL({str(self)!r})"


def http_client(
    route: Route,
    ssl_context: ssl.SSLContext | None,
    *,
    connect_s: float | None,
    tcp_options: Sequence[SocketOption] = (),
) -> httpx2.AsyncClient:
    """An HTTP client whose connections take a route. Requests have no time limit after connecting.

    Args:
        route: the server, and its proxy.
        ssl_context: for ``https`` servers and proxies; by default as for a WebSocket.
        connect_s: the time limit of connecting, in seconds; ``None`` for none.
        tcp_options: the options of each TCP socket.

    Raises:
        ConnectFailed: the route has a SOCKS proxy, and a package that SOCKS needs is missing.
    """
    context = ssl_context
    if context is None:
        # The authorities of the system take tens of milliseconds to load.
        is_needed = route.secure or route.secure_proxy
        context = default_ssl_context() if is_needed else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
    transport: httpx2.AsyncHTTPTransport
    if route.proxy is not None and route.proxy.startswith("socks"):
        transport = _socks_transport(route, context, limits, tcp_options)
    elif route.proxy is not None:
        transport = ProxyTransport(route, context, limits, tcp_options)
    else:
        transport = httpx2.AsyncHTTPTransport(
            verify=context, trust_env=False, limits=limits, socket_options=tcp_options
        )
    timeout = httpx2.Timeout(None, connect=connect_s)  # other deadlines are those of the turn
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


def _socks_transport(
    route: Route,
    context: ssl.SSLContext,
    limits: httpx2.Limits,
    tcp_options: Sequence[SocketOption],
) -> httpx2.AsyncHTTPTransport:
    try:
        from .socks import SocksTransport
    except ImportError as error:
        missing = (error.name or "python_socks").partition(".")[0]
        where = authority(route.host, route.port)
        problem = f"HTTP through the SOCKS proxy {where} needs the package {missing}; install it"
        raise ConnectFailed(f"{problem}, or name the server in NO_PROXY", fault="final") from error
    return SocksTransport(route, ssl_context=context, limits=limits, tcp_options=tcp_options)


__all__ = ["QuietURL", "http_client"]
