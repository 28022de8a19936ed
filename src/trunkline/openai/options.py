"""Options of the transports, and the environment variable that turns them off."""

from __future__ import annotations

import os
import ssl
from collections.abc import Hashable
from typing import Final, TypedDict

from .._face.call import KeyFunction
from .._face.door import Door
from .._face.upstream import Settings
from .._network.endpoint import check_proxy
from .._network.world import World
from .._observe.hooks import Hooks
from ..arguments import check_flag, check_function, check_kind
from ..options import Deadlines, PoolLimits

SWITCH: Final = "TRUNKLINE_OPENAI"
"""The environment variable; with the value ``off`` all requests go over HTTP."""


class Options(TypedDict, total=False):
    """Options of a transport.

    Attributes:
        lanes: whether the service supports several responses per socket. Default: only ``api.openai.com``.
        key: a function from the headers and the fields of a request to a hashable key of its conversation, or
            ``None``. The header ``x-trunkline-key`` takes precedence.
        tenancy: names the callers that share a memory of responses, where an access token changes.
            Default: callers with equal headers.
        limits: the bounds of the sockets.
        deadlines: ``connect``, ``first_event`` and ``total`` bound those of each request; the other limits
            are the read timeout of the request. Default: no ``total`` for streams.
        hooks: functions called when turns begin and end.
        ssl_context: the TLS context of WebSocket and HTTP connections.
        proxy: the URL of a proxy, or an empty string for none. Default: that of the environment.
        log_content: the logger ``trunkline.wire`` shows content at level DEBUG.
        world: clock, chance and network, for tests.
    """

    lanes: bool | None
    key: KeyFunction | None
    tenancy: Hashable
    limits: PoolLimits | None
    deadlines: Deadlines | None
    hooks: Hooks | None
    ssl_context: ssl.SSLContext | None
    proxy: str | None
    log_content: bool
    world: World | None


def door_of(options: Options, *, has_inner: bool) -> Door:
    """The door of a transport with these options.

    Args:
        options: the options.
        has_inner: the HTTP transport is the caller's. Its proxy and certificates are unknown here, so that no
            WebSocket is opened unless ``proxy`` or ``ssl_context`` say how.

    Raises:
        ConfigurationError: an option is wrong.
    """
    limits, deadlines, hooks = options.get("limits"), options.get("deadlines"), options.get("hooks")
    key, ssl_context, world = options.get("key"), options.get("ssl_context"), options.get("world")
    check_flag(options.get("lanes"), "lanes", optional=True)
    check_function(key, "key", "give a function of headers and fields")
    check_kind(options.get("tenancy"), "tenancy", Hashable, "give a string, for example", optional=True)
    check_kind(limits, "limits", PoolLimits, "give trunkline.PoolLimits(max_connections=8)", optional=True)
    check_kind(deadlines, "deadlines", Deadlines, "give trunkline.Deadlines(connect=5)", optional=True)
    check_kind(hooks, "hooks", Hooks, "give trunkline.Hooks(turn_finished=…)", optional=True)
    check_kind(ssl_context, "ssl_context", ssl.SSLContext, "give an ssl.SSLContext", optional=True)
    check_proxy(options.get("proxy"))
    check_flag(options.get("log_content", False), "log_content")
    check_kind(world, "world", World, "give a trunkline.World", optional=True)
    settings = Settings(
        lanes=options.get("lanes"),
        limits=limits or PoolLimits(),
        # As over HTTP, a stream has no limit while events arrive.
        deadlines=deadlines or Deadlines(total=None),
        hooks=hooks or Hooks(),
        ssl_context=ssl_context,
        proxy=options.get("proxy"),
        log_content=options.get("log_content", False),
        world=world or World(),
    )
    says_how = ssl_context is not None or options.get("proxy") is not None
    is_on = os.environ.get(SWITCH, "").strip().lower() not in ("off", "0", "false", "no")
    return Door(
        settings, key=key, tenancy=options.get("tenancy"), is_open=is_on and (says_how or not has_inner)
    )


__all__ = ["SWITCH", "Options", "door_of"]
