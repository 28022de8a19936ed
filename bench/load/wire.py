"""HTTP and WebSocket on one port, with the minimum that clients need. Not hardened: for loopback only."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import cast

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
_KEY = re.compile(rb"(?im)^sec-websocket-key:\s*(\S+)")
_RTT = re.compile(r"/rtt(\d+)/")
_TEXT, _CLOSE, _PING = 1, 8, 9


class Wire(asyncio.Protocol):
    """One connection: requests are received as bodies, events sent as frames or server-sent events.

    Attributes:
        is_socket: the connection was upgraded.
        rtt_s: the simulated round trip in seconds, from ``/rttMS/`` in the path.
        is_paused: the client does not read at the moment.
    """

    def __init__(self) -> None:
        self.is_socket = False
        self.rtt_s = 0.0
        self.is_paused = False
        self.bytes_in = 0
        self._requests = 0
        self._buffer = bytearray()
        self._fragments = bytearray()
        self._tcp: asyncio.Transport

    # Overridden by the server.

    def on_request(self, body: bytes, *, arrived_first: bool) -> None:
        """Handle a ``response.create``, or the body of a POST."""

    def on_get(self, path: str) -> bytes:
        """The JSON answer to a GET."""
        return b'{"object":"list","data":[]}'

    def on_upgrade(self) -> None:
        """Handle the upgrade to a WebSocket."""

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast(asyncio.Transport, transport)
        self._tcp.set_write_buffer_limits(high=1 << 18)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_socket:
            self.bytes_in += len(data)
        while self._read_frame() if self.is_socket else self._read_http():
            pass

    @property
    def is_open(self) -> bool:
        """Whether the connection accepts writes."""
        return not self._tcp.is_closing()

    def later(self, delay_s: float, what: object, *values: object) -> None:
        """Call after a simulated delay."""
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, what, *values)  # type: ignore[arg-type]
        else:
            what(*values)  # type: ignore[operator]

    def drop(self) -> None:
        """Abort the connection, as after a network failure."""
        self._tcp.abort()

    def encode(self, payload: bytes, kind: str) -> bytes:
        """An event as this connection carries it."""
        if self.is_socket:
            return frame(_TEXT, payload)
        event = b"event: %b\ndata: %b\n\n" % (kind.encode(), payload)
        return b"%x\r\n%b\r\n" % (len(event), event)

    def write(self, data: bytes) -> None:
        """Write bytes to the client."""
        if not self._tcp.is_closing():
            self._tcp.write(data)

    def begin_events(self) -> None:
        """Write the head of a stream of events. Does nothing for a WebSocket."""
        if not self.is_socket:
            self.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )

    def end_events(self) -> None:
        """Write the end of a stream of events."""
        if not self.is_socket:
            self.write(b"0\r\n\r\n")

    def _read_http(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end])
        match = _LENGTH.search(head)
        size = int(match[1]) if match else 0
        if len(self._buffer) < end + 4 + size:
            return False
        body = bytes(self._buffer[end + 4 : end + 4 + size])
        del self._buffer[: end + 4 + size]
        self._on_http(head, body)
        return True

    def _on_http(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        if rtt := _RTT.search(path):
            self.rtt_s = int(rtt[1]) / 1000
        self._requests += 1
        if key := _KEY.search(head):
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
            self.is_socket = True
            self.on_upgrade()
            # One round trip for the TCP handshake, which loopback lacks, and one for the upgrade.
            self.later(
                2 * self.rtt_s,
                self.write,
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                b"sec-websocket-accept: %b\r\n\r\n" % accept,
            )
        elif method == "POST":
            self.on_request(body, arrived_first=self._requests == 1)
        else:
            answer = self.on_get(path)
            self.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    def _read_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 6:
            return False
        size, start = buffer[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            if len(buffer) < 10:
                return False
            size, start = int.from_bytes(buffer[2:10], "big"), 10
        end = start + 4 + size
        if len(buffer) < end:
            return False
        payload = _unmasked(bytes(buffer[start + 4 : end]), bytes(buffer[start : start + 4]))
        first = buffer[0]
        del buffer[:end]
        self._on_frame(first & 0x0F, bool(first & 0x80), payload, end)
        return True

    def _on_frame(self, kind: int, final: bool, payload: bytes, wire_bytes: int) -> None:
        if kind == _PING:
            self.write(frame(10, payload))
        elif kind == _CLOSE:
            self.write(frame(_CLOSE, payload))
            self._tcp.close()
        elif kind < _CLOSE:
            self.bytes_in += wire_bytes
            self._fragments += payload
            if final:
                body, self._fragments = bytes(self._fragments), bytearray()
                self.on_request(body, arrived_first=False)


def frame(kind: int, payload: bytes) -> bytes:
    """One WebSocket frame from the server."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | kind, size)) + payload
    if size < 1 << 16:
        return bytes((0x80 | kind, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | kind, 127)) + size.to_bytes(8, "big") + payload


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if not size:
        return payload
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
