"""SOCKS: HTTP connections through a SOCKS proxy.

httpx2 needs a further package for SOCKS5 and does not support SOCKS4. The connections are therefore made
with python-socks, which picows requires and uses for WebSocket. Both transports accept the same proxies.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import httpcore2
import httpx2
from python_socks import ProxyError, ProxyTimeoutError, ProxyType
from python_socks.async_.asyncio import Proxy

from ..errors import ConnectFailed
from .reasons import system_message
from .route import Route
from .tcp import SocketOption, connect
from .translation import translated

_NO_LIMIT_S = 24 * 3600.0  # python-socks has a time limit of a minute if none is given


class SocksTransport(httpx2.AsyncHTTPTransport):
    """The transport of an HTTP client whose connections go through a SOCKS proxy.

    Args:
        route: the route, with the proxy.
        ssl_context: the TLS context for the server.
        limits: the bounds of the connection pool.
        tcp_options: the options of each TCP socket.
    """

    def __init__(
        self,
        route: Route,
        *,
        ssl_context: ssl.SSLContext,
        limits: httpx2.Limits,
        tcp_options: Sequence[SocketOption] = (),
    ) -> None:
        super().__init__(verify=ssl_context, trust_env=False, limits=limits)
        # httpx2 has no argument for the network of its pool. The pool it has made is unused.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_SocksNetwork(route, tcp_options),
        )


class _Tcp(Proxy):
    """The way to the proxy, which python-socks takes for a first proxy: a TCP connection as for a WebSocket.

    It races the addresses of the proxy, and its errors are those of a WebSocket.
    """

    def __init__(self, route: Route, tcp_options: Sequence[SocketOption]) -> None:
        super().__init__(ProxyType.SOCKS5, route.host, route.port)
        self._route = route
        self._tcp_options = tcp_options

    async def connect(
        self, dest_host: str, dest_port: int, timeout: float | None = None, **kwargs: Any
    ) -> socket.socket:
        return await connect(self._route, self._tcp_options)


class _SocksNetwork(httpcore2.AsyncNetworkBackend):
    def __init__(self, route: Route, tcp_options: Sequence[SocketOption]) -> None:
        self._route = route
        self._tcp_options = tcp_options

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        limit_s = timeout if timeout is not None else _NO_LIMIT_S
        try:
            proxy = Proxy.from_url(self._route.proxy or "", forward=_Tcp(self._route, self._tcp_options))
            sock = await proxy.connect(host, port, timeout=limit_s)
        except ProxyTimeoutError:
            raise ConnectFailed(f"cannot connect to {self._route} within {limit_s:g} s") from None
        except ProxyError as error:  # the message is the reply of the proxy
            raise ConnectFailed(f"cannot connect to {self._route}: {error}") from error
        except OSError as error:
            problem = f"cannot connect to {self._route}: {system_message(error)}"
            raise ConnectFailed(problem, fault="cut") from error
        try:
            reader, writer = await asyncio.open_connection(sock=sock)
            writer.transport.set_write_buffer_limits(0)  # a piece has left once it is drained
        except BaseException:
            sock.close()
            raise
        return _Stream(reader, writer, self._route)


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route) -> None:
        self._reader = reader
        self._writer = writer
        self._route = route

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return await self._reader.read(max_bytes)
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._writer.write(buffer)
            await self._writer.drain()
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException as error:
            self._writer.transport.abort()
            if isinstance(error, TimeoutError):
                raise ConnectFailed(f"the TLS handshake with {self._route} timed out") from error
            if isinstance(error, OSError):
                raise translated(error, self._route) from error
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of an idle connection: whether the server has closed it
            return self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info(info)


__all__ = ["SocksTransport"]
