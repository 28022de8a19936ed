"""Endpoint: the URLs of one Responses API, from a base URL; and checks of URLs in settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from ..arguments import check_kind
from ..errors import ConfigurationError

OPENAI_HOST = "api.openai.com"
_XAI_HOST = "api.x.ai"

_SCHEMES = {"http": ("ws", "http"), "https": ("wss", "https"), "ws": ("ws", "http"), "wss": ("wss", "https")}
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h", "socks4")


@dataclass(frozen=True)
class Endpoint:
    """The URLs of one Responses API.

    Attributes:
        websocket_url: the ``ws`` or ``wss`` URL, without a model.
        http_url: the URL of the same resource for ``POST``.
        lanes: whether the server supports ``stream_id``.
        lanes_were_told: the caller has said so, or that it does not.
        host: the host in lower case, without the port.
    """

    websocket_url: str = field(repr=False)  # the query may hold a key
    http_url: str = field(repr=False)
    lanes: bool
    host: str
    lanes_were_told: bool = False

    @classmethod
    def of(cls, base_url: str, *, lanes: bool | None = None) -> Endpoint:
        """The endpoint of a base URL such as ``https://api.openai.com/v1``.

        ``/responses`` is appended unless the path ends in it; a query is kept.

        Args:
            base_url: an ``http``, ``https``, ``ws`` or ``wss`` URL.
            lanes: whether the server supports lanes; by default only ``api.openai.com`` does.

        Raises:
            ConfigurationError: the URL is invalid; the message names the correction.
        """
        parts = _split(base_url)
        path = parts.path.rstrip("/")
        if path.rsplit("/", 1)[-1] != "responses":
            path += "/responses"
        websocket, http = (
            parts._replace(scheme=scheme, path=path).geturl() for scheme in _SCHEMES[parts.scheme]
        )
        host = parts.hostname or ""
        has_lanes = host == OPENAI_HOST if lanes is None else lanes
        return cls(websocket, http, has_lanes, host, lanes_were_told=lanes is not None)

    @property
    def is_openai(self) -> bool:
        """Whether the limits of OpenAI's own service apply."""
        return self.host == OPENAI_HOST

    @property
    def repeats_ids(self) -> bool:
        """Whether the server is known to give one id to all responses of a connection: xAI."""
        return self.host == _XAI_HOST or self.host.endswith(f".{_XAI_HOST}")

    def websocket_url_for(self, model: str) -> str:
        """The WebSocket URL for a model.

        ``?model=`` is added, because gateways choose the upstream at the upgrade, before the first request.
        It is not added for OpenAI's own host, nor if the query names a model.
        """
        return self.websocket_url if self.is_openai else _with_model(self.websocket_url, model)


def check_proxy(proxy: object) -> None:
    """Check the ``proxy`` argument: a URL, ``None`` for the proxy of the environment, or empty for none.

    Raises:
        ConfigurationError: the URL is invalid; the message names the correction.
    """
    check_kind(proxy, "proxy", str, "give a URL such as http://HOST:PORT, or an empty string", optional=True)
    if not isinstance(proxy, str) or not proxy:
        return
    scheme, separator, _ = proxy.partition("://")
    fault = None
    if not separator:
        fault = "has no scheme; write http://HOST:PORT"
    elif scheme.lower() not in _PROXY_SCHEMES:
        fault = f"has the scheme {scheme!r}; use {', '.join(_PROXY_SCHEMES)}"
    else:
        try:
            parts = urlsplit(proxy)
            if not parts.hostname or parts.port == 0:
                fault = "has no host; write http://HOST:PORT"
        except ValueError:
            fault = "is not a valid URL; write http://HOST:PORT"
    if fault is not None:
        raise ConfigurationError(f"proxy {_shown(proxy)!r} {fault}", argument="proxy")


# Each turn needs the URL of its model: making it anew took a twentieth of the turn's instructions.
@lru_cache(maxsize=256)
def _with_model(url: str, model: str) -> str:
    parts = urlsplit(url)
    if "model" in parse_qs(parts.query, keep_blank_values=True):
        return url
    query = urlencode({"model": model})
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def _split(base_url: str) -> SplitResult:
    check_kind(base_url, "base_url", str, "give a URL such as https://api.openai.com/v1")
    if not base_url.isprintable() or " " in base_url:
        _refuse(base_url, "contains a space or a control character; remove it")
    scheme, separator, _ = base_url.partition("://")
    if not separator:
        _refuse(base_url, f"has no scheme; write https://{_shown(base_url).lstrip('/')}")
    if scheme.lower() not in _SCHEMES:
        _refuse(base_url, f"has the scheme {scheme!r}; use https, http, wss or ws")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        _refuse(base_url, "is not a valid URL; write it as https://HOST[:PORT]/PATH")
    if "@" in parts.netloc:
        _refuse(base_url, "contains credentials; pass them as api_key or in headers")
    if not parts.hostname or port == 0:
        _refuse(base_url, "has no host; write it as https://HOST[:PORT]/PATH")
    if parts.fragment or base_url.endswith("#"):
        _refuse(base_url, "has a fragment; remove the # and what follows it")
    return parts


def _refuse(base_url: str, fault: str) -> NoReturn:
    raise ConfigurationError(f"base_url {_shown(base_url)!r} {fault}", argument="base_url")


def _shown(base_url: str) -> str:
    """The URL for messages, without user and query: both may hold credentials."""
    scheme, separator, rest = base_url.partition("://")
    rest = re.split(r"[?#]", rest if separator else scheme, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    shown = authority.rpartition("@")[2] + slash + path
    return scheme + separator + shown if separator else shown


@lru_cache(maxsize=256)
def server_of(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if is_secure(url) else 80)


def is_secure(url: str) -> bool:
    """Whether the server of a URL is reached over TLS."""
    return url[:6].lower().startswith(("wss:", "https:"))
