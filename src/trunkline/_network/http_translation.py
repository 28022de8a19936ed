"""Exceptions of httpx2 as failures and exceptions of this library. None quotes a URL: it may hold a key."""

from __future__ import annotations

import socket
import ssl

from .._protocol.failure import Failure
from ..errors import ConnectFailed
from .reasons import system_message, unresolved, untrusted
from .route import Route


def lost(error: Exception, authority: str) -> Failure:
    """An exception of httpx2 as a failure.

    The message of the exception is not used, because it may hold a URL. The exception is kept as the cause.
    """
    reason = _system_error(error)
    why = system_message(reason) if reason is not None else type(error).__name__
    return Failure.lost(f"the HTTP connection to {authority} was lost: {why}", sent=True, cause=error)


def not_connected(error: Exception, route: Route) -> ConnectFailed:
    """An exception of httpx2 while connecting, in the words of a WebSocket dial."""
    reason = _system_error(error)
    if isinstance(reason, ssl.SSLError):
        return untrusted(route, reason)
    if isinstance(reason, socket.gaierror):
        return unresolved(route.host, reason)
    why = system_message(reason) if reason is not None else type(error).__name__
    is_refused = reason is not None and not isinstance(reason, TimeoutError)
    return ConnectFailed(
        f"cannot connect to {route} over HTTP: {why}", fault="unreachable" if is_refused else "other"
    )


def _system_error(error: BaseException) -> OSError | None:
    """The first OSError with a number in the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


__all__ = ["lost", "not_connected"]
