"""Callers: a tenant, or everyone on this machine, with their upstream, sockets and allowance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from .._decisions.lineage import LineageLimits
from .._face.call import Header
from .._face.door import Door
from .._face.upstream import Settings
from .._network.world import World
from .._observe.hooks import Hooks
from ..options import Deadlines, PoolLimits
from .allowance import Allowance
from .configuration import Bounds, Configuration, Tenant, Upstream
from .refusal import Refused
from .upward import Upward

ANYONE = ""
"""The name of the caller where there are no tenants."""
FEATURES: Final = "openai-beta"
MAX_FEATURES: Final = 8
DEADLINES: Final = Deadlines(total=None)
"""As over HTTP, a stream goes on as long as events arrive."""


class Caller:
    """A tenant, or everyone on this machine.

    Args:
        name: the tenant's name; empty for everyone.
        tenant: its settings; ``None`` for everyone.
        upstream: its upstream.
        key: the key for the upstream; ``None`` if callers show it.
        bounds: the bounds of its sockets to the upstream, and of its unread answers.
        histories_bytes: the bytes of the histories that are remembered for it.
        allowance: its turns.
        hooks: called when its turns begin and end.
        world: clock, chance and network.

    Attributes:
        name: as given.
        settings: all of its settings, to compare. Secret.
        tenant: as given.
        door: where its requests for responses come in.
        upward: its HTTP client.
        allowance: as given.
        credentials: the headers with the gateway's key; empty if callers show theirs.
    """

    def __init__(
        self,
        name: str,
        tenant: Tenant | None,
        upstream: Upstream,
        key: str | None,
        *,
        bounds: Bounds,
        histories_bytes: int,
        allowance: Allowance,
        hooks: Hooks,
        world: World,
    ) -> None:
        self.name: str = name
        self.settings: tuple[object, ...] = (
            tenant,
            upstream,
            key,
            bounds.upstream_sockets,
            bounds.unread_bytes,
        )
        self.tenant: Tenant | None = tenant
        self.upward: Upward = Upward()
        self.allowance: Allowance = allowance
        self.credentials: Sequence[Header] = () if key is None else _credentials(upstream, key)
        self.door: Door = Door(
            Settings(
                lanes=None if upstream.lanes == "auto" else upstream.lanes,
                limits=PoolLimits(max_connections=bounds.upstream_sockets),
                deadlines=DEADLINES,
                hooks=hooks,
                max_buffered_bytes=bounds.unread_bytes,
                lineage=LineageLimits(max_bytes=histories_bytes),
                world=world,
            ),
            tenancy=("gateway", name) if key is not None else None,
        )
        parts = urlsplit(upstream.base_url)
        self._base = parts._replace(path=parts.path.rstrip("/"))
        self._features: set[str] = set()

    @property
    def is_shared(self) -> bool:
        """Whether the key for the upstream is the gateway's."""
        return bool(self.credentials)

    @property
    def first_output_s(self) -> float | None:
        """The time until the first output of an answer, in seconds; ``None`` for no own limit."""
        return self.tenant.first_output_s if self.tenant is not None else None

    @property
    def allows_store(self) -> bool:
        """Whether responses may be stored by the service."""
        return not self.is_shared or (self.tenant is not None and self.tenant.allow_store)

    def url(self, path: str, query: str) -> str:
        """The URL of a resource upstream.

        Args:
            path: the path below the base URL, with a slash.
            query: the caller's query with its question mark, or nothing.
        """
        own, given = self._base.query, query.removeprefix("?")
        joined = "&".join(part for part in (own, given) if part)
        return self._base._replace(path=self._base.path + path, query=joined).geturl()

    def check_features(self, headers: Sequence[Header]) -> None:
        """Check that the values of ``OpenAI-Beta`` are few: each has sockets and bounds of its own.

        Args:
            headers: the headers of a request that goes up.

        Raises:
            Refused: a tenant has used too many values.
        """
        if not self.is_shared:
            return
        for name, value in headers:
            if name == FEATURES and value not in self._features:
                if len(self._features) >= MAX_FEATURES:
                    raise Refused(
                        400, f"more than {MAX_FEATURES} values of OpenAI-Beta are not served", param=FEATURES
                    )
                self._features.add(value)

    async def close(self) -> None:
        """Close its sockets and connections."""
        await self.door.close()
        await self.upward.close()

    def __repr__(self) -> str:
        return f"<Caller {self.name or 'anyone'}>"


def own_allowance(tenant: Tenant) -> Allowance:
    """The allowance of a tenant whose limits are this replica's own."""
    return Allowance(tenant.turns_in_flight, tenant.turns_per_minute)


def callers_of(
    configuration: Configuration,
    hooks: Callable[[str], Hooks],
    world: World,
    allowance_of: Callable[[Tenant], Allowance] = own_allowance,
) -> Mapping[str, Caller]:
    """All callers of a configuration, by their names.

    Args:
        configuration: the configuration.
        hooks: the hooks of a caller.
        world: clock, chance and network.
        allowance_of: the allowance of a tenant.
    """

    def caller(name: str, tenant: Tenant | None, upstream: str) -> Caller:
        return Caller(
            name,
            tenant,
            configuration.upstreams[upstream],
            configuration.keys.get(upstream),
            bounds=configuration.bounds,
            histories_bytes=configuration.bounds.histories_bytes // max(1, len(configuration.tenants)),
            allowance=allowance_of(tenant) if tenant is not None else Allowance(None, None),
            hooks=hooks(name),
            world=world,
        )

    if not configuration.tenants:
        return {ANYONE: caller(ANYONE, None, next(iter(configuration.upstreams)))}
    return {name: caller(name, tenant, tenant.upstream) for name, tenant in configuration.tenants.items()}


def _credentials(upstream: Upstream, key: str) -> list[Header]:
    found = [("authorization", f"Bearer {key}")]
    if upstream.organization is not None:
        found.append(("openai-organization", upstream.organization))
    if upstream.project is not None:
        found.append(("openai-project", upstream.project))
    return found


__all__ = ["ANYONE", "DEADLINES", "Caller", "callers_of", "own_allowance"]
