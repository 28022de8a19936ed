"""Dialler: opens the sockets of one client with its credentials, TLS context, proxy and ping settings.

It does not reference the client. The pool and its tasks reference the dialler, and must not keep a
dropped client.
"""

from __future__ import annotations

import ssl

from ..errors import UpgradeRefused
from .connection import Connect
from .credentials import Credentials
from .wakeups import Wakeups
from .world import Receiver, Socket, World


class Dialler:
    """Makes the dial function of a URL.

    Args:
        credentials: the headers of each dial.
        wakeups: resumes the readers of streams.
        world: opens the sockets.
        ssl_context: as for `Client`.
        ping_interval_s: as for `Client`.
        proxy: as for `Client`.
    """

    def __init__(
        self,
        credentials: Credentials,
        wakeups: Wakeups,
        world: World,
        *,
        ssl_context: ssl.SSLContext | None,
        ping_interval_s: float,
        proxy: str | None,
    ) -> None:
        self._world = world
        self._credentials = credentials
        self._wakeups = wakeups
        self._ssl_context = ssl_context
        self._ping_interval_s = ping_interval_s
        self._proxy = proxy

    def __call__(self, url: str) -> Connect:
        """The function that dials ``url``.

        If a callable API key is refused with 401, it dials once more: the key may have expired between the
        call and the dial.
        """

        async def dial(receiver: Receiver) -> Socket:
            try:
                return await self._dial(url, receiver)
            except UpgradeRefused as refusal:
                if refusal.status != 401 or not self._credentials.may_change:
                    raise
                return await self._dial(url, receiver)

        return dial

    async def _dial(self, url: str, receiver: Receiver) -> Socket:
        return await self._world.dial(
            url,
            headers=await self._credentials.headers(),
            receiver=receiver,
            wakeups=self._wakeups,
            ssl_context=self._ssl_context,
            ping_interval_s=self._ping_interval_s,
            proxy=self._proxy,
        )


__all__ = ["Dialler"]
