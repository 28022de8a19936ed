"""Upstream: the WebSockets to one URL with one set of headers, and the turns on them.

A turn that has to go over HTTP raises `OverHttp`: the caller's own request goes there, not one of ours.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, NoReturn

from .._decisions.baselines import Plan
from .._decisions.lineage import LineageLimits
from .._decisions.placement import Owner
from .._decisions.request import Request
from .._network.assembly import PING_INTERVAL_S, assembled
from .._network.credentials import Credentials
from .._network.endpoint import Endpoint
from .._network.gateways import Gateways
from .._network.http import HttpTransport
from .._network.transports import Transport, Transports
from .._network.world import World
from .._observe.hooks import Hooks
from .._observe.metrics import PoolCounters, PoolState
from .._protocol.fields import Fields
from .._protocol.history import History
from .._protocol.sink import Sink
from .._turns.settings import TurnSettings
from .._turns.turn import Turn
from ..options import Deadlines, Policy, PoolLimits
from .memory import Memory

POLICY: Final = Policy(waits=False, max_attempts=3)
"""The caller has retries of its own. The third attempt is one over HTTP, or after a full connection."""


_IMAGES: Final = 16
_REPEATS: Final = 4
"""Two events repeat the fields, perhaps with more escapes than the request."""


class OverHttp(Exception):
    """The turn goes over HTTP."""


class _NoHttp(HttpTransport):
    """Takes the place of the HTTP transport: nothing is sent."""

    def exchange(
        self, request: Request, plans: Sequence[Plan], sink: Sink, label: str, *, patient: bool = True
    ) -> NoReturn:
        raise OverHttp

    def prepare(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the sockets and turns of one caller.

    Attributes:
        lanes: as for `Client`.
        limits: as for `Client`.
        deadlines: the longest time limits; those of a request may be shorter.
        hooks: as for `Client`.
        ssl_context: as for `Client`.
        proxy: as for `Client`.
        ping_interval_s: as for `Client`.
        log_content: as for `Client`.
        max_buffered_bytes: as for `Client`.
        lineage: the bounds of the memory.
        world: as for `Client`.
    """

    lanes: bool | None = None
    limits: PoolLimits = field(default_factory=PoolLimits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    hooks: Hooks = field(default_factory=Hooks)
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = field(default=None, repr=False)
    ping_interval_s: float = PING_INTERVAL_S
    log_content: bool = False
    max_buffered_bytes: int = 2**24
    lineage: LineageLimits | None = None
    world: World = field(default_factory=World)

    @property
    def of_pool(self) -> tuple[object, ...]:
        """The settings that must be equal for callers that share sockets."""
        return (
            self.lanes,
            self.limits,
            self.deadlines.connect,
            id(self.ssl_context),
            self.proxy,
            self.ping_interval_s,
            self.log_content,
            self.max_buffered_bytes,
            self.world,
        )


class Upstream:
    """The WebSockets to one URL with one set of headers.

    Args:
        url: the URL of the responses.
        headers: the headers of each upgrade.
        settings: the settings of the sockets.
        memory: the recorded responses.
        gateways: the servers that are known to be gateways.

    Attributes:
        memory: the same.
        counters: the counters of its sockets and turns.
        users: the clients that use it.
        loop: the event loop of the sockets.
        running: the number of turns that have begun and not ended.
        used_at: the time of the last use.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        settings: Settings,
        memory: Memory,
        gateways: Gateways | None = None,
    ) -> None:
        self.memory: Memory = memory
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.running: int = 0
        self.used_at: float = settings.world.clock()
        # A query is a part of what the caller addresses; the endpoint keeps it.
        self._endpoint = Endpoint.of(url, lanes=settings.lanes)
        self._settings = settings
        self._transports: Transports = assembled(
            self._endpoint,
            Credentials.exactly(headers),
            Transport.AUTO,
            limits=settings.limits,
            connect_s=settings.deadlines.connect,
            ping_interval_s=settings.ping_interval_s,
            ssl_context=settings.ssl_context,
            proxy=settings.proxy,
            log_content=settings.log_content,
            world=settings.world,
            http_transport=_NoHttp,
            gateways=gateways,
        )
        self.counters: PoolCounters = self._transports.counters

    @property
    def keeps_responses(self) -> bool:
        """Whether responses that the service reports as stored can be relied on."""
        return self._transports.keeps_responses

    def now(self) -> float:
        """The time in seconds, for the memory."""
        return self._settings.world.clock()

    @property
    def is_live(self) -> bool:
        """Whether it has an open socket."""
        return self.state().sockets > 0

    def state(self) -> PoolState:
        """The sockets, lanes and running turns at this moment."""
        return self._transports.state()

    def turn(
        self,
        fields: Fields,
        context: History,
        owner: Owner | None,
        deadlines: Deadlines,
        hooks: Hooks,
        *,
        generate: bool = True,
    ) -> Turn:
        """A turn that has not started.

        Args:
            fields: the fields of its request.
            context: the whole input.
            owner: the owner of the context; ``None`` if nothing may be remembered.
            deadlines: its time limits.
            hooks: called when it begins and ends.
            generate: ``False`` for a warm-up.
        """
        self.used_at = self._settings.world.clock()
        settings = TurnSettings(
            deadlines=deadlines,
            policy=POLICY,
            max_buffered_bytes=unread_bytes(self._settings.max_buffered_bytes, fields),
            hooks=hooks,
            log_content=self._settings.log_content,
        )
        url = self._endpoint.websocket_url_for(fields.model)
        return Turn(self._transports, Request(url, fields, context, owner, generate), settings)

    def carried_nothing(self) -> None:
        """Sockets opened and brought no event: turns go over HTTP for a while."""
        self._transports.upgrade_carried_nothing("sockets opened and brought no event")

    async def close(self, within_s: float = 5.0) -> None:
        """Close its sockets. Turns that run fail."""
        await self._transports.close(within_s)

    def end(self) -> None:
        """Drop its sockets now. May be called when the event loop is closed."""
        self._transports.end()


def unread_bytes(bound: int, fields: Fields) -> int:
    """The size of the unread events above which a turn fails.

    Args:
        bound: the size for answers of text.
        fields: the fields of the request. The service repeats them in the events before the output.
    """
    if b'"image_generation"' in fields.head:
        bound *= _IMAGES  # one image is one event, and the next ones follow directly
    return bound + _REPEATS * len(fields.head)


@lru_cache(maxsize=64)  # few callers have many limits, and checking them anew costs more than the rest
def limited(base: Deadlines, connect: float | None, read: float | None, *, is_streamed: bool) -> Deadlines:
    """The time limits of a turn: those of the request, as an HTTP client would apply them.

    Args:
        base: the longest limits until the first event; the others are those of the request.
        connect: the request's limit until it is connected.
        read: its limit until the next bytes. An answer that is no stream has no bytes before its end.
        is_streamed: the answer is a stream.
    """
    total = None if is_streamed or read is None else read + (connect or 0.0)
    return replace(
        base,
        connect=_shorter(base.connect, connect),
        first_event=_shorter(base.first_event, read),
        first_output=read,
        between_events=read,
        total=_shorter(base.total, total),
    )


def _shorter(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


__all__ = ["OverHttp", "Settings", "Upstream", "limited", "unread_bytes"]
