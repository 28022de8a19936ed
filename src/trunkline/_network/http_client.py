"""HTTP client of httpx2 for one route, with the proxy and the certificates that a WebSocket uses."""

from __future__ import annotations

import ssl

import httpx2

from ..errors import ConnectFailed
from .route import Route, authority
from .websocket import default_ssl_context


def http_client(
    route: Route, ssl_context: ssl.SSLContext | None, *, connect_s: float | None
) -> httpx2.AsyncClient:
    """An HTTP client whose connections take a route. Requests have no time limit after connecting.

    Args:
        route: the server, and its proxy.
        ssl_context: for ``https`` servers and proxies; by default as for a WebSocket.
        connect_s: the time limit of connecting, in seconds; ``None`` for none.

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
        transport = _socks_transport(route, context, limits)
    elif route.proxy is not None:
        transport = _ProxyTransport(route, context, limits)
    else:
        transport = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
    timeout = httpx2.Timeout(None, connect=connect_s)  # other deadlines are those of the turn
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


class _ProxyTransport(httpx2.AsyncHTTPTransport):
    """The transport of an HTTP client whose requests go through an ``http`` or ``https`` proxy."""

    def __init__(self, route: Route, context: ssl.SSLContext, limits: httpx2.Limits) -> None:
        # An https proxy is verified as the server is.
        proxy = httpx2.Proxy(route.proxy or "", ssl_context=context if route.secure_proxy else None)
        super().__init__(verify=context, trust_env=False, limits=limits, proxy=proxy)
        self._route = route

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await super().handle_async_request(request)
        except httpx2.ProxyError as error:  # the message is the status of its answer to CONNECT
            raise ConnectFailed(f"cannot connect to {self._route}: the proxy answered {error}") from error
        if response.status_code == 407:  # of the proxy: a request to an http server needs no CONNECT
            await response.aclose()
            status = f"{response.status_code} {response.reason_phrase}"
            problem = f"cannot connect to {self._route}: the proxy answered {status}"
            raise ConnectFailed(problem, fault="final")
        return response


def _socks_transport(
    route: Route, context: ssl.SSLContext, limits: httpx2.Limits
) -> httpx2.AsyncHTTPTransport:
    try:
        from .socks import SocksTransport
    except ImportError as error:
        missing = (error.name or "python_socks").partition(".")[0]
        where = authority(route.host, route.port)
        problem = f"HTTP through the SOCKS proxy {where} needs the package {missing}; install it"
        raise ConnectFailed(f"{problem}, or name the server in NO_PROXY", fault="final") from error
    return SocksTransport(route, ssl_context=context, limits=limits)


__all__ = ["http_client"]
