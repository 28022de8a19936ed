"""WebSocket frames of a server: unmasked and uncompressed."""

from __future__ import annotations

import struct

_TEXT = 0x1
_CLOSE = 0x8
_FIN = 0x80


def frame(payload: bytes, *, opcode: int = _TEXT, final: bool = True) -> bytes:
    """Encode one frame."""
    first = opcode | (_FIN if final else 0)
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (first, size, payload)
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Encode a close frame with a code."""
    return frame(struct.pack("!H", code) + reason.encode()[:123], opcode=_CLOSE)
