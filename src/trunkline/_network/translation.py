"""Exceptions of picows, TLS and the operating system while dialling, as exceptions of this library."""

from __future__ import annotations

import re
import ssl
import time

from picows import WSHandshakeError

from .._protocol.error_fields import retry_after_s
from ..errors import ConnectFailed, UpgradeRefused
from .reasons import system_message, untrusted
from .route import Route

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: |\r|$)")


def translated(error: Exception, route: Route) -> ConnectFailed | UpgradeRefused:
    """The meaning of an exception between the TCP connection and the end of the upgrade.

    Messages quote neither headers nor a whole URL: both may hold keys.
    """
    if isinstance(error, WSHandshakeError):
        return _refusal(error, route)
    if isinstance(error, ssl.SSLError):
        return untrusted(route, error)
    if isinstance(error, OSError):
        problem = f"the connection to {route} ended before the upgrade: {system_message(error)}"
        return ConnectFailed(problem, fault="cut")
    if route.proxy:
        # The message names the reply of the proxy. It holds no URL: `route_to` has checked the proxy's.
        return ConnectFailed(f"cannot connect to {route}: {error}")
    return ConnectFailed(f"cannot connect to {route}: {type(error).__name__}")


def _refusal(error: WSHandshakeError, route: Route) -> ConnectFailed | UpgradeRefused:
    # ``error.response`` is None for answers that picows cannot parse: statuses without a name, such as 520,
    # and HTTP/1.0 from old proxies. The body may be None too. Therefore only the raw bytes are read.
    raw = error.raw_header or b""
    status_line = _STATUS_LINE.match(raw)
    if status_line is None:
        return ConnectFailed(f"{route} did not answer the upgrade with HTTP")
    status = int(status_line[1])
    if status == 101:
        return ConnectFailed(f"{route} answered the upgrade with an invalid WebSocket handshake")
    headers = _headers(raw)
    return UpgradeRefused(
        status,
        headers=headers,
        body=error.raw_body or b"",
        retry_after_s=retry_after_s(headers, now=time.time()),
    )


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in raw.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


__all__ = ["translated"]
