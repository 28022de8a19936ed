"""Environment: the proxy of a URL, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

WebSocket and HTTP requests use the same function, so that both use the same proxy. picows does not read
these variables, and httpx2 reads NO_PROXY differently from ``urllib``.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_VARIABLES = {"ws": "http_proxy", "http": "http_proxy", "wss": "https_proxy", "https": "https_proxy"}
_DEFAULT_PORTS = {"http_proxy": 80, "https_proxy": 443}
_BRACKETED = re.compile(r"\[(?P<address>[^\[\]]+)\](?P<prefix>/\d+)?(?::(?P<port>\d*))?")


def proxy_of(url: str) -> str | None:
    """The proxy of a URL in this process; ``None`` for a direct connection."""
    if urllib.request.getproxies_environment():
        return proxy_in(os.environ, url)
    # Without any variable, macOS and Windows may have a proxy in the settings of the system. Their list of
    # exceptions has a syntax of its own.
    if urllib.request.proxy_bypass(urlsplit(url).hostname or ""):
        return None
    system = {f"{scheme}_proxy": proxy for scheme, proxy in urllib.request.getproxies().items()}
    return proxy_in(system, url)


def proxy_in(environment: Mapping[str, str], url: str) -> str | None:
    """The proxy of a URL in an environment; ``None`` for a direct connection.

    HTTP_PROXY applies to ``http`` and ``ws``, HTTPS_PROXY to ``https`` and ``wss``, and ALL_PROXY to URLs
    without a proxy of their own. A variable in lower case takes precedence, even if it is empty.

    Args:
        environment: the variables and their values.
        url: an ``http``, ``https``, ``ws`` or ``wss`` URL.
    """
    parts = urlsplit(url)
    variable = _VARIABLES[parts.scheme]
    proxy = _value(environment, variable) or _value(environment, "all_proxy")
    port = parts.port or _DEFAULT_PORTS[variable]
    if not proxy or is_exempt(parts.hostname or "", port, _value(environment, "no_proxy")):
        return None
    return proxy


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether a value of NO_PROXY names a server.

    Entries are separated by commas or spaces:

    - ``*`` names each server;
    - ``example.org``, ``.example.org`` and ``*.example.org`` name the host and its subdomains;
    - ``10.0.0.1``, ``::1`` and ``[::1]`` name an address, in any of its spellings;
    - ``10.0.0.0/8`` and ``fd00::/8`` name a network. Host names are not resolved for it;
    - ``:PORT`` after a name, an IPv4 address or an IPv6 address in brackets limits the entry to that port.

    Other entries name no server.
    """
    return any(_names(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _value(environment: Mapping[str, str], name: str) -> str:
    # The lower case of HTTP_PROXY cannot be set by a request header in CGI programs; the upper case can.
    if name not in environment and not (name == "http_proxy" and "REQUEST_METHOD" in environment):
        name = name.upper()
    return environment.get(name, "").strip()


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if bracketed := _BRACKETED.fullmatch(entry):
        name, entry_port = bracketed["address"] + (bracketed["prefix"] or ""), bracketed["port"]
    elif entry.count(":") == 1:
        name, _, entry_port = entry.partition(":")
    else:  # a name, an IPv4 address, or an IPv6 address without brackets, which has no port
        name, entry_port = entry, None
    if entry_port and entry_port != str(port):
        return False
    try:
        address = ip_address(host.partition("%")[0])  # without the zone of a link-local address
    except ValueError:
        host, name = host.lower().rstrip("."), re.sub(r"^\*?\.+", "", name.lower().rstrip("."))
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        network = ip_network(name.partition("%")[0], strict=False)
    except ValueError:
        return False
    # An IPv4 address may be written as IPv6 (``::ffff:10.0.0.1``).
    mapped = address.ipv4_mapped if address.version == 6 else None
    return address in network or (mapped is not None and mapped in network)


__all__ = ["is_exempt", "proxy_in", "proxy_of"]
