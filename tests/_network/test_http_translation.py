"""Exceptions of httpx2: what they become, in messages that name the server and no secret."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import httpx2
import pytest

from trunkline._network.http_translation import lost, not_connected
from trunkline._network.route import Route
from trunkline._protocol.failure import FailureKind

SECRET = "https://example.org/v1/responses?api-key=sk-secret-0123456789"
DIRECT = Route("example.org:443", "example.org", 443, None, True, False)


def caused_by(reason: BaseException) -> Exception:
    """An exception of httpx2 that has this reason two causes down, as httpcore leaves it."""
    between = OSError("All connection attempts failed")  # without a number
    between.__context__ = reason
    error = httpx2.ConnectError(SECRET)
    error.__cause__ = between
    return error


@pytest.mark.parametrize(
    ("reason", "fault", "message"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, SECRET), "unreachable", os.strerror(errno.ECONNREFUSED)),
        (TimeoutError(errno.ETIMEDOUT, SECRET), "other", os.strerror(errno.ETIMEDOUT)),
        (ValueError(SECRET), "other", "ConnectError"),
        (socket.gaierror(socket.EAI_NONAME, SECRET), "final", "'example.org' could not be resolved"),
        (ssl.SSLCertVerificationError(1, "failed"), "final", "certificate of example.org:443"),
    ],
)
def test_a_failed_connection_has_the_fault_of_its_reason(
    reason: BaseException, fault: str, message: str
) -> None:
    error = not_connected(caused_by(reason), DIRECT)
    assert error.fault == fault
    assert message in str(error)
    assert "secret" not in str(error)


def test_a_lost_connection_names_the_server_and_keeps_its_cause() -> None:
    error = httpx2.ReadError(SECRET)
    assert lost(error, "example.org").message == "the HTTP connection to example.org was lost: ReadError"
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, SECRET)
    failure = lost(error, "example.org")
    assert (failure.kind, failure.sent, failure.cause) == (FailureKind.LOST, True, error)
    assert failure.message.endswith(os.strerror(errno.ECONNRESET))
