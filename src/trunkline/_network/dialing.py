"""The way to an open socket: the proxy, the first address that answers, and a name for every failure.

Nothing here speaks WebSocket. ``route_to`` is pure but for the environment, ``connect`` yields a TCP socket,
and whatever other libraries raise on the way becomes ``ConnectFailed`` or ``UpgradeRefused``, here and once.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from picows import WSHandshakeError

from .._protocol.refusals import retry_after_s
from ..errors import ConnectFailed, UpgradeRefused
from .background import cancel, ended, in_background

HEAD_START_S = 0.25
"""How long one address is tried alone before the next joins (RFC 8305 recommends 250 ms)."""

Address: TypeAlias = tuple[
    int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]

_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443, "socks4": 1080, "socks5": 1080}
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: |\r|$)")


@dataclass(frozen=True)
class Route:
    """Where the TCP connection goes, and what is behind it.

    Attributes:
        target: host and port of the server, for messages.
        host, port: what is dialled: the server, or its proxy.
        proxy: the proxy's whole URL, which may hold a password; ``None`` for the straight way.
        secure: TLS is spoken to the server.
        secure_proxy: TLS is spoken to the proxy.
    """

    target: str
    host: str
    port: int
    proxy: str | None = field(repr=False)
    secure: bool
    secure_proxy: bool

    def __str__(self) -> str:
        return (
            f"{self.target} through the proxy {_authority(self.host, self.port)}"
            if self.proxy
            else self.target
        )


def route_to(url: str, proxy: str | None) -> Route:
    """The way to a ``ws`` or ``wss`` URL: through ``proxy``, or for ``None`` through the environment's.

    Raises:
        ConnectFailed: one of the two is not a URL that can be dialled.
    """
    server = _split(url, "the server's URL", ("ws", "wss"))
    secure = server.scheme == "wss"
    host, port = _dialled(server)
    target = _authority(host, port)
    if proxy is None:
        proxy = _proxy_from_environment(target, secure=secure)
    if not proxy:
        return Route(target, host, port, None, secure, False)
    proxy = _normal(proxy)
    middle = _split(proxy, "the proxy's URL", ("http", "https", "socks5", "socks4"))
    return Route(target, *_dialled(middle), proxy, secure, middle.scheme == "https")


def _proxy_from_environment(target: str, *, secure: bool) -> str | None:
    if proxy_bypass(target):
        return None
    proxies = getproxies()
    return proxies.get("https" if secure else "http") or proxies.get("all")


def _normal(proxy: str) -> str:
    """A proxy as people write it, in the form that picows reads: with a scheme, and the port of SOCKS."""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme, rest = proxy.split("://", 1)
    scheme = scheme.lower().replace("socks5h", "socks5")  # names are resolved by the proxy in any case
    authority = rest.split("/", 1)[0].rstrip("?#")
    if scheme.startswith("socks") and not re.search(r":\d+$", authority):
        authority = f"{authority.rstrip(':')}:{_DEFAULT_PORTS.get(scheme, 1080)}"
    return f"{scheme}://{authority}"


def _split(url: str, what: str, schemes: tuple[str, ...]) -> SplitResult:
    # The URL itself stays out of the messages: it may hold a password or a key.
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is not a number
    except ValueError:
        raise ConnectFailed(f"{what} is not a valid URL") from None
    if parts.scheme not in schemes:
        raise ConnectFailed(f"{what} has the scheme {parts.scheme!r}; use one of {', '.join(schemes)}")
    if not parts.hostname:
        raise ConnectFailed(f"{what} has no host")
    return parts


def _dialled(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def connect(route: Route) -> socket.socket:
    """A TCP socket to the first address of the route that answers.

    Addresses are raced with a head start of ``HEAD_START_S`` each, IPv6 and IPv4 in turn, so that a family
    that leads nowhere costs a quarter of a second. Cancelling leaves no socket behind.

    Raises:
        ConnectFailed: the name could not be resolved, or no address answered.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"the host name {route.host!r} could not be resolved") from error
    try:
        return await _race(_interleaved(addresses))
    except OSError as error:
        where = _authority(route.host, route.port)
        raise ConnectFailed(f"cannot connect to {where} over TCP: {_words(error)}") from error


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The resolver's order, but with the families in turn."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


async def _race(addresses: list[Address]) -> socket.socket:
    running: set[asyncio.Task[socket.socket]] = set()
    failure = OSError("the name has no address")
    try:
        while addresses or running:
            if addresses:
                running.add(in_background(_connect_to(addresses.pop(0)), "trunkline dial"))
            head_start_s = HEAD_START_S if addresses else None
            done, _ = await asyncio.wait(running, timeout=head_start_s, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                running.discard(attempt)
                try:
                    return attempt.result()
                except OSError as error:
                    failure = error
        raise failure
    finally:
        for attempt in running:
            attempt.add_done_callback(_close_the_loser)
        cancel(running)
        await ended(running)


async def _connect_to(address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_the_loser(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Verifies certificates and names against the system's authorities. Made once in the life of the process.

    Loading the authorities takes tens of milliseconds, in which every other socket of the loop stands still.
    """
    return ssl.create_default_context()


async def discard(sock: socket.socket) -> None:
    """End a connection whose socket belongs to a transport out of our reach, and see it closed.

    A transport closes its socket itself once it reads the end of the stream. What had already arrived is
    thrown away first, so that nothing of it is acted upon.
    """
    with suppress(OSError):
        while sock.recv(65536):
            pass
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    for _ in range(16):
        if sock.fileno() == -1:
            return
        await asyncio.sleep(0)


def translated(error: Exception, route: Route) -> ConnectFailed | UpgradeRefused:
    """What an exception between TCP and the upgrade means. Messages hold no header and no whole URL."""
    if isinstance(error, WSHandshakeError):
        return _refusal(error, route)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFailed(f"the TLS certificate of {route} is not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return ConnectFailed(f"the TLS handshake with {route} failed: {error.reason or type(error).__name__}")
    if isinstance(error, OSError):
        return ConnectFailed(f"the connection to {route} ended before the upgrade: {_words(error)}")
    if route.proxy:
        return ConnectFailed(f"cannot connect to {route}: {error}")
    return ConnectFailed(f"cannot connect to {route}: {type(error).__name__}")


def _words(error: OSError) -> str:
    # asyncio overwrites the system's words with the address.
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


def _refusal(error: WSHandshakeError, route: Route) -> ConnectFailed | UpgradeRefused:
    # picows parses only answers that it expects. Statuses without a name, such as 520, and HTTP/1.0 from
    # old proxies come as raw bytes.
    raw = error.raw_header or b""
    status_line = _STATUS_LINE.match(raw)
    if status_line is None:
        return ConnectFailed(f"{route} did not answer the upgrade with HTTP")
    status = int(status_line[1])
    if status == 101:
        return ConnectFailed(f"{route} answered the upgrade with an invalid WebSocket handshake")
    headers = _headers(raw)
    return UpgradeRefused(
        status,
        headers=headers,
        body=error.raw_body or b"",
        retry_after_s=retry_after_s(headers.get("retry-after"), now=time.time()),
    )


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in raw.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
