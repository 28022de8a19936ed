"""Clients that the `LLM`s of one event loop share if their settings and credentials are equal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias
from weakref import WeakSet, WeakValueDictionary

import httpx2
from trunkline import Client, Deadlines

ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True, repr=False)
class ClientSettings:
    """The settings of a client. Clients with equal settings serve the same account of one endpoint.

    Attributes:
        api_key: the key, or the function that returns it; equal functions are one credential.
        base_url: the URL of the API.
        organization: the ``OpenAI-Organization`` header.
        project: the ``OpenAI-Project`` header.
        headers: further headers.
        use_websocket: whether WebSocket is used.
        lanes: as for `trunkline.Client`.
        timeout: ``connect`` and ``read`` of an `httpx2.Timeout`; ``None`` for the defaults.
    """

    api_key: ApiKey | None
    base_url: str | None
    organization: str | None
    project: str | None
    headers: tuple[tuple[str, str], ...]
    use_websocket: bool
    lanes: bool | None
    timeout: tuple[float | None, float | None] | None

    @classmethod
    def of(
        cls,
        *,
        api_key: ApiKey | None,
        base_url: str | None,
        headers: Mapping[str, str],
        use_websocket: bool,
        lanes: bool | None,
        timeout: httpx2.Timeout | None,
    ) -> ClientSettings:
        """The settings, completed from the environment as it is now."""
        return cls(
            api_key=api_key if api_key is not None else os.environ.get("OPENAI_API_KEY"),
            base_url=base_url if base_url is not None else os.environ.get("OPENAI_BASE_URL"),
            organization=os.environ.get("OPENAI_ORG_ID"),
            project=os.environ.get("OPENAI_PROJECT_ID"),
            headers=tuple(sorted(headers.items())),
            use_websocket=use_websocket,
            lanes=lanes,
            timeout=(timeout.connect, timeout.read) if timeout is not None else None,
        )

    def client(self) -> Client:
        """A new client.

        Raises:
            ValueError: a setting is invalid or missing.
        """
        deadlines = Deadlines()
        if self.timeout is not None:
            connect_s, read_s = self.timeout
            deadlines = replace(deadlines, connect=connect_s, between_events=read_s)
        return Client(
            api_key=self.api_key,
            base_url=self.base_url or None,
            organization=self.organization or None,
            project=self.project or None,
            headers=dict(self.headers),
            transport="auto" if self.use_websocket else "http",
            lanes=self.lanes,
            deadlines=deadlines,
        )


class SharedClient:
    """A client and its users. The last user that leaves closes it.

    Attributes:
        client: the client.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._users: WeakSet[object] = WeakSet()

    def join(self, user: object) -> None:
        """Use the client."""
        self._users.add(user)

    def leave(self, user: object) -> bool:
        """Do without the client. Returns whether it has no other users."""
        self._users.discard(user)
        return not self._users


_shared: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, ClientSettings], SharedClient] = (
    WeakValueDictionary()
)


def shared_client(settings: ClientSettings, make: Callable[[], Client]) -> SharedClient:
    """The client of the running event loop with these settings; a new one if there is none."""
    key = (asyncio.get_running_loop(), settings)
    try:
        found = _shared.get(key)
    except TypeError:  # a key function without a hash cannot be compared
        return SharedClient(make())
    if found is None:
        found = _shared[key] = SharedClient(make())
    return found


def withdraw(shared: SharedClient) -> None:
    """Give the client to no further user, because it is being closed."""
    for key in [key for key, known in _shared.items() if known is shared]:
        del _shared[key]
