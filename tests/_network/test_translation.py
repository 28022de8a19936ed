"""Exceptions while dialling: their class, and messages that name the route and no secret."""

from __future__ import annotations

import errno
import os
import ssl

import pytest
from picows import WSHandshakeError

from trunkline._network.reasons import system_message
from trunkline._network.route import Route
from trunkline._network.translation import translated
from trunkline.errors import ConnectFailed, UpgradeRefused

SECRET = "sk-secret-0123456789"
DIRECT = Route("example.org:443", "example.org", 443, None, True, False)
PROXIED = Route("example.org:443", "proxy", 3128, f"http://u:{SECRET}@proxy:3128", True, False)


def refusal(header: bytes | None, body: bytes | None = None) -> UpgradeRefused | ConnectFailed:
    return translated(WSHandshakeError(SECRET, raw_header=header, raw_body=body, response=None), DIRECT)


def test_a_refused_upgrade_is_read_from_its_bytes() -> None:
    error = refusal(b"HTTP/1.1 520 Unknown\r\nVia: a\r\nRetry-After: 7\r\nVia: b\r\nnot a header\r\n", b"{}")
    assert isinstance(error, UpgradeRefused)
    assert (error.status, error.body, error.retry_after_s) == (520, b"{}", 7)
    assert error.headers == {"via": "a, b", "retry-after": "7"}


def test_a_refused_upgrade_may_lack_a_body() -> None:
    error = refusal(b"HTTP/1.0 403\r\n")
    assert isinstance(error, UpgradeRefused)
    assert (error.status, error.body, error.retry_after_s) == (403, b"", None)


@pytest.mark.parametrize("header", [None, b"", b"SSH-2.0\r\n", b"HTTP/1.1 101 Switching Protocols\r\n"])
def test_an_answer_that_is_no_refusal_is_a_failed_connection(header: bytes | None) -> None:
    assert isinstance(refusal(header), ConnectFailed)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ssl.SSLCertVerificationError(1, "failed"), "certificate of example.org:443 is not trusted"),
        (ssl.SSLError(1, "failed"), "TLS handshake with example.org:443 failed"),
        (ConnectionResetError(errno.ECONNRESET, SECRET), os.strerror(errno.ECONNRESET)),
        (ValueError(SECRET), "cannot connect to example.org:443: ValueError"),
        (
            WSHandshakeError(SECRET, raw_header=None, raw_body=None, response=None),
            "did not answer the upgrade",
        ),
    ],
)
def test_each_failure_names_the_server_and_quotes_nothing(error: Exception, message: str) -> None:
    failure = translated(error, DIRECT)
    assert isinstance(failure, ConnectFailed)
    assert message in str(failure)
    assert SECRET not in str(failure)


def test_the_reply_of_a_proxy_is_quoted_and_its_password_is_not() -> None:
    failure = translated(RuntimeError("host unreachable"), PROXIED)
    assert str(failure).startswith("cannot connect to example.org:443 through the proxy proxy:3128")
    assert "host unreachable" in str(failure)
    assert SECRET not in str(failure)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 80)"),
            os.strerror(errno.ECONNREFUSED),
        ),
        (OSError("the name has no address"), "the name has no address"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_the_message_of_the_system_stands_without_the_address(error: OSError, message: str) -> None:
    assert system_message(error) == message
