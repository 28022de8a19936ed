"""The doctor's network checks: proxy, name, TCP, TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from ..._network.route import Route, route_to
from ..._network.tcp import connect
from ..._network.translation import translated
from ..._network.websocket import default_ssl_context
from ...errors import ConnectFailed
from .findings import Finding, Found, Verdict, examine

_SHOWN_ADDRESSES = 3
_IN_THE_CLEAR = "The key is sent unencrypted: use https in the base URL."


async def network(url: str, within_s: float) -> AsyncIterator[Finding]:
    """Check the connection to a WebSocket URL, step by step, up to the first failure."""
    path = _Path(url)
    checks = {"proxy": path.proxy, "name": path.name, "TCP": path.tcp, "TLS": path.tls}
    for name, check in checks.items():
        finding = await examine(name, check, within_s=within_s)
        yield finding
        if finding.verdict is Verdict.FAILED:
            return


class _Path:
    """The network path to one URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._route: Route

    async def proxy(self) -> Found:
        """Report the proxy set in the environment."""
        self._route = route = route_to(self._url, None)
        if route.proxy is None:
            return Found("none")
        return Found(f"{urlsplit(route.proxy).scheme}://{route.host}:{route.port}, from the environment")

    async def name(self) -> Found:
        """Resolve the name of the server or of its proxy."""
        host, loop = self._route.host, asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, self._route.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(f"the host name {host!r} could not be resolved") from error
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        more = " …" if len(addresses) > _SHOWN_ADDRESSES else ""
        shown = f"{', '.join(addresses[:_SHOWN_ADDRESSES])}{more}"
        return Found(shown if shown == host else f"{host} is {shown}")

    async def tcp(self) -> Found:
        """Connect to one of the addresses."""
        with await connect(self._route) as sock:
            address, port = sock.getpeername()[:2]
        return Found(f"{address} port {port}")

    async def tls(self) -> Found:
        """Verify the server's certificate."""
        if not self._route.secure:
            return self._unencrypted()
        if self._route.proxy is not None:
            return Found("through the proxy: checked with the upgrade", verdict=Verdict.SKIPPED)
        sock = await connect(self._route)
        try:
            _, writer = await asyncio.open_connection(
                sock=sock, ssl=default_ssl_context(), server_hostname=self._host
            )
        except (OSError, ssl.SSLError) as error:
            sock.close()
            raise translated(error, self._route) from error
        try:
            return Found(_certificate(writer.get_extra_info("ssl_object")))
        finally:
            writer.transport.abort()

    def _unencrypted(self) -> Found:
        if _is_loopback(self._host):
            return Found("not encrypted, but on this machine", verdict=Verdict.SKIPPED)
        return Found("not encrypted", _IN_THE_CLEAR, Verdict.WARNING)


def _certificate(tls: ssl.SSLObject) -> str:
    certificate = tls.getpeercert() or {}
    return f"{tls.version()}, certificate until {certificate.get('notAfter', 'an unknown day')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
