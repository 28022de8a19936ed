"""The client, conversations and tool definitions that the streams of one LLM share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from trunkline import Client

from .conversations import Conversations
from .tools import Definitions


class Access:
    """One LLM's client, with the history that the service has received through it.

    Args:
        client: sends the requests.
        remake: creates the client's successor when its event loop has been closed. None: the client is
            shared with other code, and is never replaced or closed here.
        breakpoints: whether prompt-cache breakpoints are sent.
        connect_s: bound on connecting; None: each request's own time-out.
    """

    def __init__(
        self,
        client: Client,
        *,
        remake: Callable[[], Client] | None,
        breakpoints: bool,
        connect_s: float | None,
    ) -> None:
        self.connect_s = connect_s
        self.definitions = Definitions()
        self.conversations = Conversations(self._forget, breakpoints=breakpoints)
        self._client = client
        self._remake = remake
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return self._client.url

    @property
    def client(self) -> Client:
        """The client for the running event loop."""
        loop = asyncio.get_running_loop()
        if self._remake is not None and self._loop is not None and self._loop.is_closed():
            self.conversations.clear()
            self._client = self._remake()
            self._loop = None
        self._loop = self._loop or loop
        return self._client

    async def close(self) -> None:
        """Forget every conversation; close the client unless it is shared."""
        self.conversations.clear()
        if self._remake is not None:
            await self._client.close()

    def _forget(self, key: Hashable) -> None:
        self._client.forget(key)
