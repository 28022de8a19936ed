"""HTTP connections through an ``http`` or ``https`` proxy.

The pool of httpcore2 for proxies drops the options of sockets, which find dead peers. It is given a network
that sets them.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2
import httpx2

from ..errors import ConnectFailed
from .route import Route
from .tcp import SocketOption


class ProxyTransport(httpx2.AsyncHTTPTransport):
    """The transport of an HTTP client whose requests go through an ``http`` or ``https`` proxy.

    Args:
        route: the route, with the proxy.
        context: the TLS context for the server, and for an ``https`` proxy.
        limits: the bounds of the connection pool.
        tcp_options: the options of each TCP socket.
    """

    def __init__(
        self,
        route: Route,
        context: ssl.SSLContext,
        limits: httpx2.Limits,
        tcp_options: Sequence[SocketOption],
    ) -> None:
        super().__init__(verify=context, trust_env=False, limits=limits)
        proxy = httpx2.Proxy(route.proxy or "")
        # httpx2 has no argument for the network of its pool. The pool it has made is unused.
        self._pool = httpcore2.AsyncHTTPProxy(
            proxy_url=httpcore2.URL(
                scheme=proxy.url.raw_scheme,
                host=proxy.url.raw_host,
                port=proxy.url.port,
                target=proxy.url.raw_path,
            ),
            proxy_auth=proxy.raw_auth,
            proxy_headers=proxy.headers.raw,
            proxy_ssl_context=context if route.secure_proxy else None,  # verified as the server is
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Network(tcp_options),
        )
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


class _Network(httpcore2.AnyIOBackend):
    def __init__(self, tcp_options: Sequence[SocketOption]) -> None:
        self._tcp_options = tcp_options

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return await super().connect_tcp(host, port, timeout, local_address, self._tcp_options)


__all__ = ["ProxyTransport"]
