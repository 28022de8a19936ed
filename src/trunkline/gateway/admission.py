"""Admission: which requests are served, and for whom. Keys are compared as hashes, in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from fnmatch import fnmatchcase
from hashlib import sha256

from .._face.call import Header
from .configuration import Configuration, Listen, Tenant, is_loopback
from .refusal import Refused

_JSON = "application/json"


class Gate:
    """The rules about the headers of requests.

    Args:
        configuration: the configuration.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._listen: Listen = configuration.listen
        self._any_host = bool(configuration.tenants) and not configuration.listen.hosts
        self._tenants: list[tuple[str, tuple[bytes, ...]]] = [
            (name, tuple(bytes.fromhex(key) for key in tenant.keys_sha256))
            for name, tenant in configuration.tenants.items()
        ]

    def check(self, headers: Sequence[Header], *, sends_json: bool) -> None:
        """Check where a request comes from: a web page must not spend a key through loopback.

        Args:
            headers: its header fields, with names in lower case.
            sends_json: its body must be JSON, which no page of another origin can send without being asked.

        Raises:
            Refused: the request is not served.
        """
        for name, value in headers:
            if name == "host" and not self._serves(value):
                raise Refused(
                    421, f"Host {value!r} is not served here; list it in listen.hosts", param="host"
                )
            if name == "origin" and value not in self._listen.origins:
                raise Refused(
                    403, f"Origin {value!r} is not allowed; list it in listen.origins", param="origin"
                )
        if sends_json and not any(
            name == "content-type" and value.partition(";")[0].strip().lower() == _JSON
            for name, value in headers
        ):
            raise Refused(415, "the Content-Type must be application/json", param="content-type")

    def _serves(self, host: str) -> bool:
        name = host.lower()
        name = name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
        return (
            self._any_host
            or is_loopback(name)
            or self._listen.uds is not None
            or name in self._listen.hosts
            or host.lower() in self._listen.hosts
            or (name == self._listen.host.lower())
        )

    def tenant(self, headers: Sequence[Header]) -> str:
        """The name of the tenant whose key a request shows. Empty without tenants.

        Raises:
            Refused: there is no key, or an unknown one.
        """
        if not self._tenants:
            return ""
        shown = sha256(key_of(headers).encode("latin-1", "replace")).digest()
        found = ""
        for name, keys in self._tenants:
            for key in keys:
                if hmac.compare_digest(key, shown):
                    found = name
        if not found:
            raise Refused(401, "the API key is not known to this gateway", code="invalid_api_key")
        return found


def key_of(headers: Sequence[Header]) -> str:
    """The key that a request shows; empty for none."""
    for name, value in headers:
        if name == "authorization" and value[:7].lower() == "bearer ":
            return value[7:].strip()
    return next((value for name, value in headers if name == "api-key"), "")


def check_model(tenant: Tenant, model: object) -> None:
    """Check that a tenant may use a model.

    Raises:
        Refused: it may not.
    """
    if tenant.models is None:
        return
    if not isinstance(model, str) or not any(fnmatchcase(model, pattern) for pattern in tenant.models):
        raise Refused(
            403,
            f"the model {model!r} is not allowed for this key; it may use {', '.join(tenant.models)}",
            code="model_not_allowed",
            param="model",
        )


__all__ = ["Gate", "check_model", "key_of"]
