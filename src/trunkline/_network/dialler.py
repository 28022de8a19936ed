"""Dialler: opens the sockets of one client with its credentials, TLS context, socket options and proxy.

It does not reference the client. The pool and its tasks reference the dialler, and must not keep a
dropped client.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Sequence

from ..errors import ConnectFault, UpgradeRefused
from .connection import Connect
from .credentials import Credentials
from .gateways import Gateways
from .receiver import Dialling
from .redials import Redials
from .tcp import SocketOption
from .wakeups import Wakeups
from .world import Socket, World


class Dialler:
    """Makes the dial function of a URL.

    Args:
        credentials: the headers of each dial.
        wakeups: resumes the readers of streams.
        world: opens the sockets.
        redials: repeats dials that do not reach the server.
        repeats: the faults after which a dial is repeated.
        gateways: the servers that are known to be gateways.
        connect_s: the time limit of a dial with its repetitions, in seconds; ``None`` for none.
        ssl_context: as for `Client`.
        tcp_options: the options of each TCP socket.
        proxy: as for `Client`.
    """

    def __init__(
        self,
        credentials: Credentials,
        wakeups: Wakeups,
        world: World,
        redials: Redials,
        *,
        repeats: Collection[ConnectFault],
        gateways: Gateways,
        connect_s: float | None,
        ssl_context: ssl.SSLContext | None,
        tcp_options: Sequence[SocketOption],
        proxy: str | None,
    ) -> None:
        self._world = world
        self._redials = redials
        self._repeats = repeats
        self._gateways = gateways
        self._connect_s = connect_s
        self._credentials = credentials
        self._wakeups = wakeups
        self._ssl_context = ssl_context
        self._tcp_options = tcp_options
        self._proxy = proxy

    def __call__(self, url: str) -> Connect:
        """The function that dials ``url``.

        If a callable API key is refused with 401, it dials once more: the key may have expired between the
        call and the dial.
        """

        async def dial(receiver: Dialling) -> Socket:
            async def once() -> Socket:
                try:
                    return await self._dial(url, receiver)
                except UpgradeRefused as refusal:
                    if refusal.status != 401 or not self._credentials.may_change:
                        raise
                    return await self._dial(url, receiver)

            until = None if self._connect_s is None else self._world.clock() + self._connect_s
            return await self._redials.connect(
                once, until, repeats=self._repeats, on_refusal=receiver.on_refusal
            )

        return dial

    async def _dial(self, url: str, receiver: Dialling) -> Socket:
        headers = await self._credentials.headers()
        socket = await self._world.dial(
            url,
            headers={**headers, **self._gateways.of_socket(url, headers)},
            receiver=receiver,
            wakeups=self._wakeups,
            ssl_context=self._ssl_context,
            tcp_options=self._tcp_options,
            proxy=self._proxy,
        )
        if socket.is_gateway:
            self._gateways.add(url)
        return socket


__all__ = ["Dialler"]
