"""Gateways: the servers that have named themselves trunkline gateways, and what they are told.

A balancer in front of gateways sends equal values of the header ``x-trunkline-key`` to the same one. Requests
over HTTP carry a hash of the name of their conversation; each upgrade carries a random value, so that sockets
are spread. A server gets neither before it has named itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Hashable, Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

from .._decisions.placement import Owner
from .endpoint import is_secure, server_of

GATEWAY_MARK: Final = "x-trunkline-gateway"
"""The header with which a trunkline gateway answers upgrades and requests."""
KEY_HEADER: Final = "x-trunkline-key"
"""The header that names the conversation of a request."""
_CREDENTIALS: Final = ("authorization", "api-key")


class Gateways:
    """The servers that have named themselves gateways, by scheme, host and port."""

    def __init__(self) -> None:
        self._known: set[tuple[bool, str, int]] = set()

    def note(self, url: str, headers: Mapping[str, str]) -> None:
        """Take the headers of an answer of the server of a URL. Their names may be in any case."""
        if any(name.lower() == GATEWAY_MARK for name in headers):
            self.add(url)

    def add(self, url: str) -> None:
        """The server of a URL has named itself a gateway."""
        self._known.add(_origin(url))

    def has(self, url: str) -> bool:
        """Whether the server of a URL has named itself a gateway."""
        return bool(self._known) and _origin(url) in self._known

    def of_socket(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """What an upgrade needs besides these headers: for a gateway a random key."""
        return {KEY_HEADER: secrets.token_hex(16)} if self._wants_key(url, headers) else {}

    def of_request(self, url: str, headers: Mapping[str, str], owner: Owner | None) -> dict[str, str]:
        """What a request over HTTP needs besides these headers: for a gateway the hashed name of its owner.

        An owner without a name gets a random one.
        """
        if owner is None or not self._wants_key(url, headers):
            return {}
        owner.name = owner.name or secrets.token_bytes(16)
        key = hashed_key(owner.name, headers)
        return {KEY_HEADER: key} if key is not None else {}

    def _wants_key(self, url: str, headers: Mapping[str, str]) -> bool:
        return self.has(url) and not any(name.lower() == KEY_HEADER for name in headers)


def hashed_key(name: bytes, headers: Mapping[str, str]) -> str | None:
    """The name of a conversation as a gateway gets it. Equal in all processes with one credential.

    Args:
        name: the name.
        headers: the headers of the request. Their credential is the key of the hash: a name that can be
            guessed, such as a telephone number, cannot be found by trying.

    Returns:
        the value of the header; ``None`` for a request without a credential.
    """
    given = {name.lower(): value for name, value in headers.items()}
    secret = next((given[each] for each in _CREDENTIALS if given.get(each)), None)
    if secret is None:
        return None
    return hmac.new(secret.encode("utf-8", "surrogatepass"), name, sha256).hexdigest()[:32]


def name_of(key: Hashable) -> bytes | None:
    """The name of the conversation with a key of the application: the same for equal keys in all processes.

    ``None`` for a key of a type whose values cannot be told apart in another process.
    """
    if isinstance(key, str):
        return b"s" + key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + key
    if isinstance(key, int):
        return b"i%d" % key
    if isinstance(key, UUID):
        return b"u" + key.bytes
    if isinstance(key, tuple):
        parts = [name_of(each) for each in key]
        named = [part for part in parts if part is not None]
        if len(named) == len(parts):
            return b"t" + b"".join(b"%d " % len(part) + part for part in named)
    return None


def _origin(url: str) -> tuple[bool, str, int]:
    return (is_secure(url), *server_of(url))


__all__ = [
    "GATEWAY_MARK",
    "KEY_HEADER",
    "Gateways",
    "hashed_key",
    "name_of",
]
