"""What the doctor finds: verdicts, and what to do about them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from ...errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    ProtocolViolation,
    ServiceError,
    TrunklineError,
    UpgradeRefused,
)


class Verdict(Enum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Found:
    """What a check says of itself when it raises nothing.

    Attributes:
        detail: what was found.
        advice: what to do, if anything.
        verdict: how it went.
        seconds: the time that matters, where it is not that of the whole check.
    """

    detail: str
    advice: str = ""
    verdict: Verdict = Verdict.OK
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table.

    Attributes:
        name: what was checked.
        verdict: how it went.
        detail: what was found.
        seconds: how long it took; ``None`` when it was not done.
        advice: what to do about it; empty for nothing.
    """

    name: str
    verdict: Verdict
    detail: str
    seconds: float | None = None
    advice: str = ""


async def examine(
    name: str, check: Callable[[], Awaitable[Found]], *, within_s: float, needed: bool = True
) -> Finding:
    """Do one check, for so long at most. A failure of one that is not needed is a warning."""
    began = monotonic()
    verdict = Verdict.FAILED if needed else Verdict.WARNING
    try:
        async with asyncio.timeout(within_s):
            found = await check()
    except TrunklineError as error:
        return Finding(name, verdict, str(error), monotonic() - began, advice_for(error))
    except TimeoutError:
        return Finding(name, verdict, f"nothing came within {within_s:g} s", monotonic() - began, _SLOW)
    seconds = found.seconds if found.seconds is not None else monotonic() - began
    if found.verdict is Verdict.SKIPPED:
        return skipped(name, found.detail)
    return Finding(name, found.verdict, found.detail, seconds, found.advice)


def skipped(name: str, why: str) -> Finding:
    """A check that could not be done."""
    return Finding(name, Verdict.SKIPPED, why)


_KEY = (
    "The service does not accept the key. Check that the variable holds the whole key, that the key is of"
    " this endpoint, and that it has not been revoked. A 403 may also come from a proxy or a firewall."
)
_MODEL = "Name a model that this endpoint has and this key may use: --model NAME."
_QUOTA = "The key's quota or rate limit is reached: wait, or look at its limits and its billing."
_SERVICE = (
    "The service, or a gateway before it, has trouble of its own: try again, and look at its status page."
)
_SLOW = "The network or the service is slow, or something on the way swallows it: --timeout-s waits longer."
_REFUSED = (
    "There is no WebSocket here. Check the base URL: /responses is put behind it, so that it mostly ends in"
    " /v1. Proxies and gateways must pass upgrades on. Without them: Client(transport='http')."
)
_LOST = "Something on the way ends WebSockets: proxies, firewalls and virus scanners must let them live."
_CONNECT = "Check the host and the port, that the server runs, and that no firewall stands between."
_CERTIFICATE = (
    "If a company's proxy opens TLS, put its certificate into a bundle and name that in SSL_CERT_FILE."
    " Else the server's certificate is wrong: do not go on without knowing why."
)
_TLS = "Check that the port speaks TLS, and that no proxy breaks it. http:// is only for loopback."
_NAME = (
    "Check the host's name in the base URL, and this machine's DNS. In a company, HTTPS_PROXY may be missing."
)


def advice_for(error: TrunklineError) -> str:
    """What to do about an error."""
    if isinstance(error, UpgradeRefused):
        return _for_status(error.status) or _REFUSED
    if isinstance(error, ServiceError):
        return _for_service(error)
    if isinstance(error, DeadlineExceeded):
        return _SLOW
    if isinstance(error, ConnectionLost | ProtocolViolation):
        return _LOST
    return _for_connecting(str(error)) if isinstance(error, ConnectFailed) else ""


def _for_status(status: int | None) -> str:
    if status in (401, 403):
        return _KEY
    if status == 429:
        return _QUOTA
    return _SERVICE if status is not None and status >= 500 and status != 501 else ""


def _for_service(error: ServiceError) -> str:
    if error.code == "model_not_found" or error.status == 404 or error.param == "model":
        return _MODEL
    if error.code in ("insufficient_quota", "rate_limit_exceeded"):
        return _QUOTA
    return _KEY if error.code == "invalid_api_key" else _for_status(error.status)


def _for_connecting(message: str) -> str:
    if "could not be resolved" in message:
        return _NAME
    if "certificate" in message:
        return _CERTIFICATE
    return _TLS if "TLS" in message else _CONNECT
