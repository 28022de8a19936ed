"""Parser of server-sent events: from the bytes of an HTTP body to the frames that a socket would bring.

Pure: bytes go in, frames come out. It follows the `standard`_, and reads what servers send beside it:

- The content type is not used. A body that does not begin with a field or a comment is a document.
- The last event needs no blank line after it, if its data are complete JSON.
- An event whose data have no ``type`` gets the name of the event as its type. Data of an event that is named
  ``error`` become the ``error`` event of a socket.

The forms of a body::

    UNDECIDED ──first characters──┬─▶ EVENTS
                                  └─▶ DOCUMENT

.. _standard: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from ..errors import ProtocolViolation
from .json import decode, encode

MAX_EVENT_BYTES: Final = 64 * 2**20
"""Limit of an event, and of a document. The rest of a document is dropped."""

_BOM: Final = b"\xef\xbb\xbf"
_DONE: Final = b"[DONE]"
"""Sent at the end by servers that follow the Chat Completions API."""
_ERROR: Final = b"error"
_BEGINNINGS: Final = (b":", b"data", b"event", b"id", b"retry")
"""How the first line of an event stream begins."""

_match_usual: Final = re.compile(rb"(?:event: ?([^\r\n]*)\n)?data: ?([^\r\n]*)").fullmatch
"""An event as almost all servers send it: at most a name, and one line of data."""


class BodyForm(Enum):
    """What the body of an answer is."""

    UNDECIDED = auto()
    EVENTS = auto()
    DOCUMENT = auto()


class EventParser:
    """Parser of one body.

    Attributes:
        form: what the body is, as far as it is known.
        comments: the number of comments, and of events without data, which servers send to show that they
            are alive.
    """

    __slots__ = ("_after_cr", "_data", "_line", "_name", "_size_bytes", "comments", "form")

    def __init__(self) -> None:
        self.form = BodyForm.UNDECIDED
        self.comments = 0
        self._line: list[bytes] = []  # the parts of an unfinished line, or of a document
        self._data: list[bytes] = []
        self._name = b""
        self._size_bytes = 0  # of the unfinished event
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that are complete with this chunk.

        Raises:
            ProtocolViolation: an event is larger than ``MAX_EVENT_BYTES``.
        """
        if self.form is not BodyForm.EVENTS:
            chunk = self._begin(chunk)
        # Almost all chunks hold whole events. CR makes lines too, so that such chunks take the long way.
        if not self._size_bytes and not self._after_cr and chunk[-2:] == b"\n\n" and b"\r" not in chunk:
            frames: list[bytes] = []
            for event in chunk[:-2].split(b"\n\n"):
                usual = _match_usual(event)
                if usual is not None:
                    self._add(usual[1] or b"", usual[2], frames)
                else:
                    self._take_lines([*event.split(b"\n"), b""], frames)
            return frames
        return self._feed_lines(chunk)

    def end(self) -> list[bytes]:
        """The frames of the event that the end of the body completes: its data must be whole JSON."""
        if self.form is BodyForm.UNDECIDED:
            self.form = BodyForm.DOCUMENT
        if self.form is BodyForm.DOCUMENT:
            return []
        frames: list[bytes] = []
        self._take_lines([b"".join(self._line), b""], frames)
        return [frame for frame in frames if _is_json(frame)]

    @property
    def document(self) -> bytes:
        """The body, if it is not an event stream."""
        return b"".join(self._line) if self.form is BodyForm.DOCUMENT else b""

    def _begin(self, chunk: bytes) -> bytes:
        """Decide what the body is. Returns what belongs to its events."""
        if self.form is BodyForm.DOCUMENT:
            self._keep(chunk)
            return b""
        head = b"".join([*self._line, chunk]).removeprefix(_BOM).lstrip()
        self._line = [head]
        if head.startswith(_BEGINNINGS):
            self.form = BodyForm.EVENTS
            self._line.clear()
            return head
        if not any(beginning.startswith(head) for beginning in (*_BEGINNINGS, _BOM)):
            self.form = BodyForm.DOCUMENT
            self._size_bytes = len(head)
        return b""

    def _keep(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes <= MAX_EVENT_BYTES:
            self._line.append(chunk)

    def _feed_lines(self, chunk: bytes) -> list[bytes]:
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        frames: list[bytes] = []
        lines = chunk.splitlines()
        self._after_cr = chunk.endswith(b"\r")
        unfinished = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        if lines:
            self._size_bytes -= sum(map(len, self._line))
            lines[0] = b"".join([*self._line, lines[0]])
            self._line.clear()
            self._take_lines(lines, frames)
        if unfinished:
            self._line.append(unfinished)
            self._grow(len(unfinished))
        return frames

    def _take_lines(self, lines: list[bytes], frames: list[bytes]) -> None:
        for line in lines:
            if not line:
                data, self._data = b"\n".join(self._data), []
                name, self._name = self._name, b""
                self._size_bytes = 0
                if data or name:
                    self._add(name, data, frames)
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not field:
                self.comments += 1
                continue
            self._grow(len(line))
            if field == b"data":
                self._data.append(value)
            elif field == b"event":
                self._name = value

    def _add(self, name: bytes, data: bytes, frames: list[bytes]) -> None:
        if not data or data == _DONE:
            self.comments += 1
        elif name and (name == _ERROR or b'"type"' not in data):
            frames.append(_with_type(name, data))
        else:
            frames.append(data)

    def _grow(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        if self._size_bytes > MAX_EVENT_BYTES:
            raise ProtocolViolation(f"received more than {MAX_EVENT_BYTES} bytes of one event over HTTP")


def _with_type(name: bytes, data: bytes) -> bytes:
    """The data with the name of the event as their type."""
    try:
        value = decode(data)
    except (ValueError, RecursionError):
        value = None
    is_error = name == _ERROR
    if isinstance(value, dict):
        if not is_error:
            return encode({**value, "type": name.decode("utf-8", "replace")})
        if value.get("type") == "error":
            return data
        if value.get("error"):
            return encode({**value, "type": "error"})
        return encode({"type": "error", "error": value})
    if is_error:
        return encode({"type": "error", "error": {"message": data.decode("utf-8", "replace")}})
    return data


def _is_json(frame: bytes) -> bool:
    try:
        decode(frame)
    except (ValueError, RecursionError):
        return False
    return True


__all__ = ["MAX_EVENT_BYTES", "BodyForm", "EventParser"]
