"""The client, conversations and tool definitions that the streams of one LLM share."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Protocol

from trunkline import Client, ClientClosed

from .clients import ClientSettings, SharedClient, shared_client, withdraw
from .conversations import Conversations
from .tools import Definitions

DRAIN_S = 2.0
"""The time limit of running answers when the last LLM of a client is closed."""


class ClientSource(Protocol):
    """The source of the client of one LLM."""

    @property
    def url(self) -> str:
        """The endpoint's URL."""

    @property
    def client(self) -> Client:
        """The client for the running event loop, also once it was left."""

    def check_open(self) -> None:
        """Raise `ClientClosed` if the LLM was closed in the running event loop."""

    async def leave(self) -> None:
        """Do without the client."""


class GivenClient:
    """A client of the application, which is never replaced or closed here."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return self.client.url

    def check_open(self) -> None:
        """Does nothing: the client raises if the application has closed it."""

    async def leave(self) -> None:
        """Does nothing: the application closes the client."""


class OwnClient:
    """A client for each event loop, shared with the other LLMs of that loop that have equal settings.

    Args:
        settings: the settings.

    Raises:
        ValueError: a setting is invalid or missing.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._unused: Client | None = settings.client()  # made now, so that wrong settings raise now
        self._url = self._unused.url
        self._shared: SharedClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_left = False

    @property
    def url(self) -> str:
        """The endpoint's URL."""
        return self._url

    @property
    def client(self) -> Client:
        """The client for the running event loop, also once it was left."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop and self._loop.is_closed():
            self._shared = self._loop = None
            self._is_left = False
        if self._shared is None:
            self._loop = loop
            self._shared = shared_client(self._settings, self._made)
            self._shared.join(self)
        return self._shared.client

    def _made(self) -> Client:
        client, self._unused = self._unused, None
        return client or self._settings.client()

    def check_open(self) -> None:
        """Raise `ClientClosed` if `leave` was called in the running event loop."""
        if self._is_left and self._loop is asyncio.get_running_loop():
            raise ClientClosed("this LLM was closed; create a new one")

    async def leave(self) -> None:
        """Do without the client. If no other LLM uses it, it drains for `DRAIN_S`, and is closed."""
        client, shared = self.client, self._shared
        self._is_left = True
        if shared is None or not shared.leave(self):
            return
        withdraw(shared)
        await client.drain(DRAIN_S)


class Access:
    """One LLM's client, with the history that the service has received through it.

    Args:
        source: the source of the client.
        breakpoints: whether prompt-cache breakpoints are sent.
        connect_s: bound on connecting; None: each request's own time-out.
        strict: as for `Definitions`.
    """

    def __init__(
        self, source: ClientSource, *, breakpoints: bool, connect_s: float | None, strict: bool | None
    ) -> None:
        self.connect_s = connect_s
        self.definitions = Definitions(strict=strict)
        self.conversations = Conversations(self._forget, breakpoints=breakpoints)
        self._source = source
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client for the running event loop."""
        client = self._source.client
        if self._client is not None and client is not self._client:
            self.conversations.clear()
        self._client = client
        return client

    def check_open(self) -> None:
        """Check that the LLM was not closed.

        Raises:
            ClientClosed: it was closed in the running event loop.
        """
        self._source.check_open()

    async def close(self) -> None:
        """Forget every conversation, and leave the client."""
        self.conversations.clear()
        await self._source.leave()

    def _forget(self, key: Hashable) -> None:
        if self._client is not None:
            self._client.forget(key)
