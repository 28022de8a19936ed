"""Configuration of the gateway: from TOML and the environment to frozen values.

A reading finds all mistakes. Each is one sentence that names the setting, its value and the remedy.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Meta, Struct

from .._network.endpoint import Endpoint, server_of
from .._protocol.quiet import QuietStruct
from ..errors import ConfigurationError
from ..extras import how_to_install

CONFIG_VARIABLE: Final = "TRUNKLINE_CONFIG"
DEFAULT_UPSTREAM: Final = "openai"
_ENVIRONMENT: Final = {
    "TRUNKLINE_HOST": ("listen", "host", str),
    "TRUNKLINE_PORT": ("listen", "port", int),
    "TRUNKLINE_UDS": ("listen", "uds", str),
    "TRUNKLINE_ADMIN_PORT": ("admin", "port", int),
    "TRUNKLINE_NOTICE_S": ("drain", "notice_s", float),
    "TRUNKLINE_WITHIN_S": ("drain", "within_s", float),
    "TRUNKLINE_VALKEY": ("shared", "valkey", str),
}
"""Environment variables that replace a setting of the file."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_UNQUOTED: Final = re.compile(r"`([^`]*)`")
_VALKEY_SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys", "unix")
_VALKEY_OPTIONS: Final = frozenset(
    ("db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
)
_VALKEY_PORT: Final = 6379
_ENCODED: Final = "with /, ?, # and @ of a password as %2F, %3F, %23 and %40"

_Seconds = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=1)]
_Port = Annotated[int, Meta(ge=0, le=65535)]
_TableT = TypeVar("_TableT", bound=Struct)


class Listen(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, and who may address it.

    Attributes:
        host: the address.
        port: the port; 0 for a free one.
        uds: the path of a Unix socket, instead of host and port.
        tls_certificate: the path of a certificate chain in PEM.
        tls_key: the path of its key.
        hosts: the values of the header ``Host`` that are served besides loopback names. Empty with tenants:
            all.
        origins: the values of the header ``Origin`` that are served. A browser sends it for a web page.
    """

    host: str = "127.0.0.1"
    port: _Port = 8787
    uds: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.uds is not None or is_loopback(self.host)


class Admin(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """The listener of ``/metrics`` and of the live page.

    Attributes:
        host: the address.
        port: the port; 0 for a free one, ``false`` for no such listener.
    """

    host: str = "127.0.0.1"
    port: _Port | Literal[False] = 8788


class Upstream(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """A service that answers.

    Attributes:
        base_url: its URL, such as ``https://api.openai.com/v1``.
        api_key_env: the environment variable with the key for all callers. Without it the caller's key is
            used.
        lanes: whether it supports several responses per socket; ``auto`` for what is known of its host.
        organization: the header ``OpenAI-Organization`` of a shared key.
        project: the header ``OpenAI-Project`` of a shared key.
    """

    base_url: str = "https://api.openai.com/v1"
    api_key_env: str | None = None
    lanes: Literal["auto"] | bool = "auto"
    organization: str | None = None
    project: str | None = None


class Tenant(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """Callers with the same keys and limits.

    Attributes:
        keys_sha256: the SHA-256 hashes of their keys, in hexadecimal.
        upstream: the name of their upstream.
        sockets: ``own``: no socket is shared with another tenant. ``shared`` is refused.
        turns_in_flight: the number of turns at a time; ``None`` for no limit.
        turns_per_minute: the number of turns in any minute; ``None`` for no limit.
        sockets_inward: the number of WebSockets of its callers; ``None`` for no limit of its own.
        models: patterns of the models that may be used, such as ``gpt-6-*``; ``None`` for all.
        allow_store: responses may be stored by the service. Needs an upstream of its own.
        first_output_s: the time until the first output of an answer, in seconds.
    """

    keys_sha256: tuple[str, ...]
    upstream: str = DEFAULT_UPSTREAM
    sockets: Literal["own", "shared"] = "own"
    turns_in_flight: _Count | None = None
    turns_per_minute: _Count | None = None
    sockets_inward: _Count | None = None
    models: tuple[str, ...] | None = None
    allow_store: bool = False
    first_output_s: Annotated[float, Meta(gt=0)] = 120.0


class Drain(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """The end of the process.

    Attributes:
        notice_s: the time in which ``/readyz`` says 503 while everything is served, in seconds.
        within_s: the time after it in which running answers may end, in seconds.
    """

    notice_s: _Seconds = 10.0
    within_s: _Seconds = 120.0


class Bounds(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """Bounds of requests and memory.

    Attributes:
        body_bytes: the size of a body or a frame, decoded.
        body_s: the time in which a body must arrive, in seconds.
        bodies_bytes: the bytes of all bodies and frames that arrive, wait or are being answered.
        tenant_bytes: the same of one tenant.
        histories_bytes: the bytes of all histories that are remembered, divided by the number of tenants.
        unread_bytes: the bytes of an answer that its caller has not read, beyond the buffers of its
            connection. Then this answer fails.
        unread_s: the time after which the answer of a caller over HTTP that takes nothing ends, in seconds.
        waiting_frames: the number of frames that wait on the lanes of one WebSocket of a caller.
        sockets_inward: the number of WebSockets of callers.
        upstream_sockets: the number of sockets to one upstream with one credential.
    """

    body_bytes: _Count = 64 * 2**20
    body_s: Annotated[float, Meta(gt=0)] = 15.0
    bodies_bytes: _Count = 512 * 2**20
    tenant_bytes: _Count = 256 * 2**20
    histories_bytes: _Count = 512 * 2**20
    unread_bytes: _Count = 2**20
    unread_s: Annotated[float, Meta(gt=0)] = 60.0
    waiting_frames: _Count = 256
    sockets_inward: _Count = 4096
    upstream_sockets: _Count = 256


class Shared(QuietStruct, frozen=True, forbid_unknown_fields=True):
    """Limits of tenants that all replicas share, by leases in Valkey or Redis.

    Attributes:
        valkey: its URL, such as ``redis://valkey:6379``. Secret.
        when_down: what holds without a lease. ``own_limits``: each limit divided by the number of replicas;
            ``refuse``: no turn begins.
        replicas: the number of replicas, at least. More that were seen in Valkey count as well.
        lease_s: the time for which a lease holds, in seconds. It is renewed five times as often.
        prefix: the beginning of all keys in Valkey. Gateways with another prefix share nothing.
    """

    valkey: str
    when_down: Literal["own_limits", "refuse"] = "own_limits"
    replicas: _Count = 1
    lease_s: Annotated[float, Meta(ge=1, le=60)] = 5.0
    prefix: str = "trunkline"

    @property
    def address(self) -> str:
        """The URL without user, password and options."""
        parts = urlsplit(self.valkey)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}:{parts.port or _VALKEY_PORT}"


class Configuration(QuietStruct, frozen=True):
    """The whole configuration.

    Attributes:
        listen: the table ``listen``.
        admin: the table ``admin``.
        upstreams: the tables ``upstream.NAME``.
        tenants: the tables ``tenant.NAME``; without one, each caller on this machine is served.
        drain: the table ``drain``.
        bounds: the table ``bounds``.
        shared: the table ``shared``; without it, limits are each replica's own.
        keys: the values of the variables that ``api_key_env`` names, by upstream. Secret.
    """

    listen: Listen
    admin: Admin
    upstreams: Mapping[str, Upstream]
    tenants: Mapping[str, Tenant]
    drain: Drain
    bounds: Bounds
    shared: Shared | None
    keys: Mapping[str, str]

    @property
    def remarks(self) -> list[str]:
        """Settings that are allowed and may surprise: one sentence each."""
        found = []
        for name in self.keys:
            users = [tenant for tenant, each in self.tenants.items() if each.upstream == name]
            if len(users) > 1:
                found.append(
                    f"tenants {', '.join(users)} share the key of upstream.{name}: cached_tokens and "
                    "encrypted reasoning can tell one about another; give tenants without mutual trust an "
                    "upstream each"
                )
        if self.shared is not None and not any(
            each.turns_in_flight or each.turns_per_minute for each in self.tenants.values()
        ):
            found.append(
                "shared has no effect: no tenant has turns_in_flight or turns_per_minute; set one of them"
            )
        elif self.shared is not None and self.shared.when_down == "own_limits" and self.shared.replicas == 1:
            found.append(
                "shared.replicas is 1: a replica that starts while Valkey is down uses each limit in full; "
                "set it to the number of replicas"
            )
        return found


def read(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Read a file and the environment.

    Args:
        path: the file; by default that of ``TRUNKLINE_CONFIG``, or none.
        environ: the environment variables.

    Raises:
        ConfigurationError: the mistakes, one a line.
    """
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    source: dict[str, Any] = {}
    if path is not None:
        try:
            source = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"{path} cannot be read: {reason}", argument="config") from None
    return of(source, environ)


def of(source: Mapping[str, Any], environ: Mapping[str, str]) -> Configuration:
    """The configuration of a document.

    Raises:
        ConfigurationError: the mistakes, one a line.
    """
    reading = _Reading(source, environ)
    configuration = reading.configuration()
    if reading.mistakes:
        raise ConfigurationError("\n".join(reading.mistakes), argument="config")
    return configuration


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _problem_of(valkey: str) -> str | None:
    """What is wrong with a URL of Valkey."""
    try:
        parts = urlsplit(valkey)
        port, options = parts.port, parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        return f"is no URL with a port from 1 to 65535; write redis://host:6379, {_ENCODED}"
    if parts.scheme not in _VALKEY_SCHEMES:
        return f"has none of the schemes {', '.join(_VALKEY_SCHEMES)}; write redis://host:6379"
    is_unix = parts.scheme == "unix"
    if port == 0 or not (parts.path if is_unix else parts.hostname):
        return "names no server; write redis://host:6379 or unix:///path"
    database = parts.path.removeprefix("/")
    if parts.fragment or not (is_unix or database == "" or database.isdecimal()):
        return f"has a path that is no number of a database; write redis://host:6379/0, {_ENCODED}"
    if not options.keys() <= (_VALKEY_OPTIONS | {"password"} if is_unix else _VALKEY_OPTIONS):
        return f"has another option than {', '.join(sorted(_VALKEY_OPTIONS))}; leave it out"
    if not all(value.isdecimal() for value in options.get("db", ())):
        return "has an option db that is no number; write redis://host:6379/0"
    return None


class _Reading:
    """One reading of a document, with the mistakes that it finds."""

    def __init__(self, source: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.mistakes: list[str] = []
        self._source = dict(source)
        self._environ = environ

    def configuration(self) -> Configuration:
        self._take_environment()
        listen = self._table("listen", Listen) or Listen()
        found = Configuration(
            listen=listen,
            admin=self._table("admin", Admin) or Admin(),
            upstreams=self._tables("upstream", Upstream) or {DEFAULT_UPSTREAM: Upstream()},
            tenants=self._tables("tenant", Tenant),
            drain=self._table("drain", Drain) or Drain(),
            bounds=self._table("bounds", Bounds) or Bounds(),
            shared=self._shared(),
            keys={},
        )
        for name in self._source:
            self._mistake(
                f"{name} is no setting; use listen, admin, upstream, tenant, drain, bounds or shared"
            )
        for name, upstream in found.upstreams.items():
            self._check_upstream(f"upstream.{name}", upstream, listen)
        for name, tenant in found.tenants.items():
            self._check_tenant(name, tenant, found)
        self._check_listeners(found)
        return msgspec.structs.replace(found, keys=self._keys(found))

    def _mistake(self, sentence: str) -> None:
        self.mistakes.append(sentence)

    def _take_environment(self) -> None:
        for variable, (table, name, kind) in _ENVIRONMENT.items():
            value = self._environ.get(variable)
            if not value:
                continue
            try:
                given = kind(value)
            except ValueError:
                self._mistake(f"{variable} is {value!r}; give a number")
                continue
            inner = self._source.get(table, {})
            if isinstance(inner, Mapping):
                self._source[table] = {**inner, name: given}

    def _table(self, name: str, kind: type[_TableT]) -> _TableT | None:
        source = self._source.pop(name, {})
        return self._converted(source, name, kind)

    def _tables(self, name: str, kind: type[_TableT]) -> dict[str, _TableT]:
        source = self._source.pop(name, {})
        if not isinstance(source, Mapping):
            self._mistake(f"{name} is no table; write [{name}.NAME]")
            return {}
        converted = {key: self._converted(value, f"{name}.{key}", kind) for key, value in source.items()}
        return {key: value for key, value in converted.items() if value is not None}

    def _converted(self, source: object, where: str, kind: type[_TableT]) -> _TableT | None:
        try:
            return msgspec.convert(source, kind)
        except msgspec.ValidationError as error:
            problem, _, place = str(error).partition(" - at ")
            unknown = _UNQUOTED.search(problem)
            if problem.startswith("Object contains unknown field") and unknown is not None:
                names = ", ".join(field.name for field in msgspec.structs.fields(kind))
                self._mistake(f"{where}.{unknown[1]} is no setting; use {names}")
            else:
                name = place.strip("`").removeprefix("$")
                self._mistake(f"{where}{name}: {problem[:1].lower()}{problem[1:].replace('`', '')}")
            return None

    def _shared(self) -> Shared | None:
        """The table ``shared``. Its mistakes show no part of the URL: each could be one of the password."""
        if "shared" not in self._source:
            return None
        inner = self._source["shared"]
        if isinstance(inner, Mapping) and "valkey" not in inner:
            self._mistake('shared.valkey is missing; give the URL of Valkey, such as "redis://valkey:6379"')
            del self._source["shared"]
            return None
        found = self._table("shared", Shared)
        if found is None:
            return None
        problem = _problem_of(found.valkey)
        if problem is not None:
            self._mistake(f"shared.valkey {problem}")
            return None
        if find_spec("valkey") is None:
            self._mistake(f"shared needs the package valkey: {how_to_install('gateway-shared')}")
        return found

    def _check_upstream(self, where: str, upstream: Upstream, listen: Listen) -> None:
        try:
            endpoint = Endpoint.of(upstream.base_url)
        except ConfigurationError as error:
            self._mistake(f"{where}.{error}")
            return
        host, port = server_of(endpoint.http_url)
        same_host = host == listen.host or (is_loopback(host) and listen.is_local)
        if listen.uds is None and port == listen.port and same_host:
            self._mistake(f"{where}.base_url is the gateway itself; give the URL of the service")

    def _check_tenant(self, name: str, tenant: Tenant, found: Configuration) -> None:
        where = f"tenant.{name}"
        for key in tenant.keys_sha256:
            if _SHA256.fullmatch(key) is None:
                self._mistake(
                    f"{where}.keys_sha256 has a value that is no SHA-256 hash in hexadecimal; "
                    "make one with: printf %s KEY | sha256sum"
                )
            elif any(key in other.keys_sha256 for known, other in found.tenants.items() if known < name):
                self._mistake(f"{where}.keys_sha256 has a key of another tenant; give each its own keys")
        if tenant.sockets == "shared":
            self._mistake(
                f"{where}.sockets is 'shared', which is not supported: counters and limits belong to the "
                "sockets of a tenant; remove it, or give callers that should share sockets one tenant"
            )
        if not tenant.keys_sha256:
            self._mistake(
                f"{where}.keys_sha256 is empty, so that no caller can use it; add the SHA-256 of a key"
            )
        if tenant.upstream not in found.upstreams:
            known_names = ", ".join(found.upstreams)
            self._mistake(f"{where}.upstream is {tenant.upstream!r}, which is not defined; use {known_names}")
            return
        if not found.upstreams[tenant.upstream].api_key_env:
            self._mistake(
                f"upstream.{tenant.upstream}.api_key_env is missing: the key that a caller of {where} shows "
                "is for the gateway; name the variable with the key of the service"
            )
        users = [each for each in found.tenants.values() if each.upstream == tenant.upstream]
        if tenant.allow_store and len(users) > 1:
            self._mistake(
                f"{where}.allow_store needs an upstream of its own: a stored response can be read with the "
                f"key of upstream.{tenant.upstream}, which other tenants use"
            )

    def _check_listeners(self, found: Configuration) -> None:
        listen = found.listen
        if (listen.tls_certificate is None) != (listen.tls_key is None):
            self._mistake("listen.tls_certificate and listen.tls_key go together; give both or neither")
        if found.tenants:
            return
        if not listen.is_local:
            self._mistake(
                f"listen.host is {listen.host!r} without a tenant: each machine could use the gateway; add "
                "[tenant.NAME] with keys_sha256, or listen on 127.0.0.1"
            )
        for name, upstream in found.upstreams.items():
            if upstream.api_key_env and listen.uds is None:
                self._mistake(
                    f"upstream.{name}.api_key_env without a tenant needs listen.uds: each program on this "
                    "machine, and each web page in its browser, could spend the key"
                )
        if len(found.upstreams) > 1:
            self._mistake("several upstreams need tenants; add [tenant.NAME] with upstream")

    def _keys(self, found: Configuration) -> dict[str, str]:
        keys = {}
        for name, upstream in found.upstreams.items():
            if upstream.api_key_env:
                key = self._environ.get(upstream.api_key_env, "").strip()
                if not key:
                    self._mistake(
                        f"upstream.{name}.api_key_env names {upstream.api_key_env}, which is not set; set it "
                        "to the key of the service"
                    )
                keys[name] = key
        return keys


__all__ = [
    "Admin",
    "Bounds",
    "Configuration",
    "Drain",
    "Listen",
    "Shared",
    "Tenant",
    "Upstream",
    "is_loopback",
    "of",
    "read",
]
