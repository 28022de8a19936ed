"""TCP connections: a race of a host's addresses, options and counters of sockets, and their end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Final, TypeAlias

from .._decisions.liveness import Signs
from ..errors import ConnectFailed
from ..options import PoolLimits
from .background import cancel, ended, in_background
from .reasons import system_message, unresolved
from .route import Route, authority

HEAD_START_S = 0.25
"""Time for which an address is tried alone before the next one joins (RFC 8305 recommends 250 ms)."""
MAX_CLOSING_ITERATIONS = 16
"""Event loop iterations that `discard` waits for a transport to close its socket."""

Address: TypeAlias = tuple[
    int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]


SocketOption: TypeAlias = tuple[int, int, int]
"""Level, name and value of an option."""

TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
"""The option that reads the counters of a connection. Linux has it: tcp_info in include/uapi/linux/tcp.h."""
_COUNTERS: Final = struct.Struct("=24x I 92x Q Q 8x I")
"""Unacknowledged segments, acknowledged bytes, received bytes, bytes that were not sent."""


def socket_options(limits: PoolLimits) -> list[SocketOption]:
    """The options of a socket of a client, as far as the platform has them.

    TCP_USER_TIMEOUT is not one of them: it also ends connections to a peer that lives and reads slowly.
    """
    names = {
        "TCP_KEEPIDLE": limits.keepalive_idle_s,
        "TCP_KEEPALIVE": limits.keepalive_idle_s,  # its name on macOS
        "TCP_KEEPINTVL": limits.keepalive_interval_s,
        "TCP_KEEPCNT": limits.keepalive_probes,
        # Without it the kernel takes 150 kB and more at once, and nobody sees them leave.
        "TCP_NOTSENT_LOWAT": limits.unsent_bytes,
    }
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in names.items()
        if hasattr(socket, name)
    ]
    return options


def kernel_signs(sock: socket.socket, buffered_bytes: int) -> Signs | None:
    """Counters of a connection, from the kernel; ``None`` where it has none.

    They see the parts of a message that has not arrived completely, bytes that the event loop has not read,
    and bytes that wait in buffers of TLS and of the kernel.

    Args:
        sock: the socket of the connection.
        buffered_bytes: the bytes that wait in buffers of this process.

    Raises:
        OSError: the socket is closed.
    """
    if TCP_INFO is None:
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, _COUNTERS.size)
    if len(info) < _COUNTERS.size:
        return None
    unacknowledged, acknowledged, received, unsent = _COUNTERS.unpack(info)
    return Signs(received, acknowledged, is_leaving=bool(unacknowledged or unsent or buffered_bytes))


async def connect(route: Route, options: Sequence[SocketOption] = ()) -> socket.socket:
    """A TCP socket to the first address of the route that accepts the connection.

    Addresses are raced with a head start of ``HEAD_START_S`` each, IPv6 and IPv4 in turn, so that an
    unreachable family costs a quarter of a second. Cancelling leaves no socket open.

    Args:
        route: the host and port, or those of the proxy.
        options: the options of the socket.

    Raises:
        ConnectFailed: the name could not be resolved, or no address accepted the connection.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: not a valid IDNA name
        raise unresolved(route.host, error) from error
    try:
        return await _race(interleaved(addresses), options)
    except OSError as error:
        where = f"{'the proxy ' if route.proxy else ''}{authority(route.host, route.port)}"
        problem = f"cannot connect to {where} over TCP: {system_message(error)}"
        raise ConnectFailed(problem, fault="unreachable") from error


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The addresses in the order of the resolver, but with the families in turn."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


async def _race(addresses: list[Address], options: Sequence[SocketOption]) -> socket.socket:
    running: set[asyncio.Task[socket.socket]] = set()
    failure = OSError("the name has no address")
    try:
        while addresses or running:
            if addresses:
                running.add(in_background(_connect_to(addresses.pop(0), options), "trunkline dial"))
            # The next address joins after the head start, or as soon as a connection is refused. After the
            # last address only an outcome ends the wait.
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
        # A second attempt may have succeeded in the same iteration, or succeed despite its cancellation.
        for attempt in running:
            attempt.add_done_callback(_close_the_loser)
        cancel(running)
        await ended(running)


async def _connect_to(address: Address, options: Sequence[SocketOption]) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        for option in options:
            with suppress(OSError):  # a sandbox may refuse it; the connection works without
                sock.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_the_loser(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def discard(sock: socket.socket) -> None:
    """End a connection whose socket belongs to a transport that cannot be reached, and wait for its end.

    A transport closes its socket when it reads the end of the stream. Received data is dropped first, so that
    the transport delivers none of it.
    """
    with suppress(OSError):
        while sock.recv(65536):
            pass
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    for _ in range(MAX_CLOSING_ITERATIONS):
        if sock.fileno() == -1:
            return
        await asyncio.sleep(0)


__all__ = ["Address", "SocketOption", "connect", "discard", "interleaved", "kernel_signs", "socket_options"]
