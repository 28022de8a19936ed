"""Assembly of a client's transports: dialler, pool and HTTP transport, with shared counters and clocks."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit

from .._decisions.recovery import LARGE_BYTES
from .._observe.metrics import PoolCounters
from .._observe.notices import Notices
from ..errors import ConnectFault
from ..options import PoolLimits
from .credentials import Credentials
from .dialler import Dialler
from .endpoint import Endpoint
from .gateways import Gateways
from .http import HttpTransport
from .pool import LARGEST_FRAME, Pool
from .redials import UNREACHED, Redials
from .tcp import socket_options
from .transports import Transport, Transports
from .wakeups import Wakeups
from .world import World

PING_INTERVAL_S: Final = 4.0
"""An idle dead socket is found within twice this time."""
_UNREACHABLE: Final = frozenset[ConnectFault]({"unreachable"})


def assembled(
    endpoint: Endpoint,
    credentials: Credentials,
    mode: Transport,
    *,
    limits: PoolLimits,
    connect_s: float | None,
    ping_interval_s: float,
    ssl_context: ssl.SSLContext | None,
    proxy: str | None,
    log_content: bool,
    world: World,
    http_transport: type[HttpTransport] = HttpTransport,
    gateways: Gateways | None = None,
) -> Transports:
    """The transports of one endpoint. Nothing is dialled yet.

    Args:
        endpoint: the URLs, and whether the service supports lanes.
        credentials: the source of the headers.
        mode: which transports are used.
        limits: the bounds of the pool.
        connect_s: the time limit of one dial, in seconds; ``None`` for none.
        ping_interval_s: the silence of an idle connection after which a PING is sent, in seconds.
        ssl_context: as for `Client`.
        proxy: as for `Client`.
        log_content: as for `Client`.
        world: clock, chance and network.
        http_transport: the class of the HTTP transport.
        gateways: the servers that are known to be gateways, where others learn them too.
    """
    wakeups, counters = Wakeups(), PoolCounters()
    gateways = gateways or Gateways()
    notices = Notices(urlsplit(endpoint.http_url).netloc, world.clock)
    redials = Redials(world)
    tcp_options = socket_options(limits)
    dialler = Dialler(
        credentials,
        wakeups,
        world,
        redials,
        # Where HTTP can take over, a connection that is cut is a reason for HTTP, not for another dial.
        repeats=_UNREACHABLE if mode is Transport.AUTO else UNREACHED,
        gateways=gateways,
        connect_s=connect_s,
        ssl_context=ssl_context,
        tcp_options=tcp_options,
        proxy=proxy,
    )
    pool = Pool(
        dialler,
        redials,
        named_lanes=endpoint.lanes,
        detects_lanes=not endpoint.lanes_were_told,
        repeats_ids=endpoint.repeats_ids,
        limits=limits,
        connect_s=connect_s,
        ping_idle_s=ping_interval_s,
        # The limit of OpenAI is known. Elsewhere HTTP spares the other turns of a socket the attempt.
        largest_shared=LARGEST_FRAME if endpoint.is_openai or mode is Transport.WEBSOCKET else LARGE_BYTES,
        counters=counters,
        notices=notices,
        world=world,
        log_content=log_content,
    )
    http = http_transport(
        endpoint.http_url,
        credentials.headers,
        redials,
        gateways,
        world.clock,
        connect_s=connect_s,
        ssl_context=ssl_context,
        tcp_options=tcp_options,
        proxy=proxy,
        log_content=log_content,
    )
    return Transports(pool, http, mode, counters=counters, wakeups=wakeups, world=world, notices=notices)


__all__ = ["PING_INTERVAL_S", "assembled"]
