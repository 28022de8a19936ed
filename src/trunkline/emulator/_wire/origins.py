"""Web pages in a browser: which origins may use the server, and the headers that tell the browser.

A browser lets any page send requests to this machine, with WebSockets without any restriction. So a request
of a page is refused unless its origin is the server's own or is allowed. Other clients than browsers send
neither ``Origin`` nor ``Sec-Fetch-Site`` and are not concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from .._protocol.errors import ApiError

ANY = "*"

_METHODS = "GET, POST, DELETE"
_EXPOSED = (
    "x-request-id, openai-processing-ms, retry-after, retry-after-ms, x-ratelimit-limit-requests,"
    " x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens"
)
_MAX_AGE_S = "600"


class Origins:
    """The origins whose pages may use a server.

    Args:
        allowed: origins such as ``http://localhost:3000``, or ``*`` for any.
        host: the address on which the server listens.

    Raises:
        ValueError: an origin is not ``SCHEME://HOST[:PORT]``.
    """

    def __init__(self, allowed: Iterable[str], host: str) -> None:
        if isinstance(allowed, str):
            raise ValueError(f"allowed_origins must be a list, not a string; use [{allowed!r}]")
        self._allowed = frozenset(map(_checked, allowed))
        self._host = host

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse a request of a page that may not use the server.

        Raises:
            ApiError: its origin is foreign, or the page reached this machine under a foreign name.
        """
        origin = headers.get("Origin")
        if origin is None and headers.get("Sec-Fetch-Site") is None:
            return
        if origin is not None and self.allows(origin):
            return
        named = headers.get("Host", "")
        # A foreign name that resolves to loopback would make a foreign page look like one of our own.
        if _is_loopback(self._host) and not _is_loopback(_host_of(named)):
            raise _refused(f"host {named!r}")
        if origin is not None and origin != f"http://{named}":
            raise _refused(f"origin {origin!r}")

    def allows(self, origin: str) -> bool:
        """Whether an origin is allowed by name."""
        return ANY in self._allowed or origin in self._allowed

    def headers(self, request: Mapping[str, str]) -> dict[str, str]:
        """The headers of an answer that let a page of an allowed origin read it."""
        origin = request.get("Origin")
        if origin is None or not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
            "Vary": "Origin",
        }

    def preflight(self, request: Mapping[str, str]) -> dict[str, str]:
        """The headers of the answer to a preflight request of an allowed origin."""
        found = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": request.get("Access-Control-Request-Headers", "*"),
            "Access-Control-Max-Age": _MAX_AGE_S,
        }
        if request.get("Access-Control-Request-Private-Network") == "true":
            found["Access-Control-Allow-Private-Network"] = "true"
        return found | self.headers(request)


def _checked(origin: str) -> str:
    parts = urlsplit(origin)
    if origin != ANY and (not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}"):
        raise ValueError(
            f"{origin!r} is not an origin; use SCHEME://HOST or SCHEME://HOST:PORT, without a path"
        )
    return origin


def _host_of(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _refused(what: str) -> ApiError:
    return ApiError(
        f"A web page of the {what} may not use this server; allow it with allowed_origins or --allow-origin.",
        status=403,
        code="origin_not_allowed",
    )
