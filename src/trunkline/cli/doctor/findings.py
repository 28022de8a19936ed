"""Results of the doctor's checks, and advice for each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
    """The verdict of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a check that raised no exception.

    Attributes:
        detail: the result in words.
        advice: the remedy, or an empty string.
        verdict: the verdict.
        seconds: the measured time; None: the duration of the check.
    """

    detail: str = field(repr=False)
    advice: str = field(default="", repr=False)
    verdict: Verdict = Verdict.OK
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table.

    Attributes:
        name: the name of the check.
        verdict: the verdict.
        detail: the result in words.
        seconds: the measured time; None if the check was skipped.
        advice: the remedy, or an empty string.
    """

    name: str
    verdict: Verdict
    detail: str = field(repr=False)
    seconds: float | None = None
    advice: str = field(default="", repr=False)


async def examine(
    name: str, check: Callable[[], Awaitable[Found]], *, within_s: float, needed: bool = True
) -> Finding:
    """Run one check within a time limit. A failure of a check that is not `needed` is a warning."""
    began = monotonic()
    verdict = Verdict.FAILED if needed else Verdict.WARNING
    try:
        async with asyncio.timeout(within_s):
            found = await check()
    except TrunklineError as error:
        return Finding(name, verdict, str(error), monotonic() - began, advice_for(error))
    except TimeoutError:
        return Finding(name, verdict, f"no answer within {within_s:g} s", monotonic() - began, _SLOW)
    seconds = found.seconds if found.seconds is not None else monotonic() - began
    if found.verdict is Verdict.SKIPPED:
        return skipped(name, found.detail)
    return Finding(name, found.verdict, found.detail, seconds, found.advice)


def skipped(name: str, why: str) -> Finding:
    """The finding of a check that was not run."""
    return Finding(name, Verdict.SKIPPED, why)


_KEY = (
    "The service does not accept the key. Check that the variable holds the whole key, that the key belongs"
    " to this endpoint, and that it has not been revoked. A 403 may also come from a proxy or a firewall."
)
_MODEL = "The endpoint does not have this model, or the key may not use it: choose another with --model NAME."
_QUOTA = "The key's quota or rate limit is reached: wait, or check its limits and its billing."
_SERVICE = (
    "The service, or a gateway in front of it, has an internal problem: retry, and check its status page."
)
_SLOW = "The network or the service is slow, or a proxy or firewall drops the traffic: raise --timeout-s."
_REFUSED = (
    "The endpoint does not accept WebSocket. Check the base URL: /responses is appended, so that it usually"
    " ends in /v1. Proxies and gateways must pass upgrades on. To use HTTP only: Client(transport='http')."
)
_LOST = "A proxy, firewall or virus scanner may have closed the WebSocket: configure it to allow them."
_CONNECT = "Check the host and the port, that the server runs, and that no firewall blocks the connection."
_CERTIFICATE = (
    "If a company's proxy intercepts TLS, add its certificate to a bundle and set SSL_CERT_FILE to that file."
    " Otherwise the server's certificate is invalid: find out why before you send the key."
)
_TLS = "Check that the port accepts TLS, and that no proxy interferes. Use http:// on loopback only."
_NAME = (
    "Check the host name in the base URL, and this machine's DNS. In a company, HTTPS_PROXY may be missing."
)


def advice_for(error: TrunklineError) -> str:
    """Return the advice for an error."""
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
