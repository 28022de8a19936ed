"""View of a client for monitoring, which does not keep the client."""

from __future__ import annotations

from typing import Protocol
from weakref import ref

from .metrics import PoolCounters, PoolMetrics, PoolState


class HasState(Protocol):
    """The connections of a client."""

    def state(self) -> PoolState:
        """The connections at this moment."""


class ClientView:
    """The figures of one client, for `Hooks.client_made`. May be read in any thread.

    Attributes:
        server_address: the host of the endpoint.
        server_port: its port.
    """

    __slots__ = ("_connections", "_counters", "server_address", "server_port")

    def __init__(
        self, server_address: str, server_port: int, counters: PoolCounters, connections: HasState
    ) -> None:
        self.server_address: str = server_address
        self.server_port: int = server_port
        self._counters = counters
        self._connections = ref(connections)

    @property
    def metrics(self) -> PoolMetrics:
        """The counters of the client: a copy. They stay when the client is gone."""
        return self._counters.snapshot()

    def state(self) -> PoolState | None:
        """The connections at this moment; ``None`` when the client is gone."""
        connections = self._connections()
        return connections.state() if connections is not None else None

    def __repr__(self) -> str:
        return f"<ClientView of {self.server_address}>"


__all__ = ["ClientView"]
