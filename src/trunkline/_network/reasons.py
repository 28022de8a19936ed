"""The reasons why no connection could be made, in the same words for WebSocket and HTTP."""

from __future__ import annotations

import os
import socket
import ssl

from ..errors import ConnectFailed


def unresolved(host: str, error: OSError | UnicodeError) -> ConnectFailed:
    """The name of a host has no address. A resolver that does not answer may answer later."""
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        problem = f"the host name {host!r} could not be resolved: the resolver did not answer"
        return ConnectFailed(problem, fault="unreachable")
    return ConnectFailed(f"the host name {host!r} could not be resolved", fault="final")


def untrusted(where: object, error: ssl.SSLError) -> ConnectFailed:
    """TLS failed. An end of the connection during the handshake may pass; nothing else does."""
    # Only OpenSSL sets these attributes. Contexts in Python, such as truststore's, may raise without them.
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", None) or type(error).__name__
        return ConnectFailed(f"the TLS certificate of {where} is not trusted: {why}", fault="final")
    why = getattr(error, "reason", None) or type(error).__name__
    is_cut = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return ConnectFailed(f"the TLS handshake with {where} failed: {why}", fault="cut" if is_cut else "final")


def system_message(error: OSError) -> str:
    """The operating system's message for an error."""
    # asyncio replaces that message by one with the address. The numbers of TLS and of name resolution are
    # not those of the system.
    if isinstance(error, ssl.SSLError | socket.gaierror) or not error.errno:
        return str(error) or type(error).__name__
    return os.strerror(error.errno)


__all__ = ["system_message", "unresolved", "untrusted"]
