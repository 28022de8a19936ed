"""Recording of a response that came over HTTP, so that later requests may name it.

Its answer goes to the caller as it comes, and is read like that of a WebSocket on its way. Where
the service got the whole context instead of the ``previous_response_id`` of the caller, it is written
anew, with that id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .._decisions.lineage import Answered, Place
from .._decisions.placement import Owner
from .._protocol.decoding import decode
from .._protocol.document import document_frame
from .._protocol.events import ReceivedEvent
from .._protocol.items import Item
from .._protocol.reception import Reception
from .._protocol.sse import EventParser
from ..errors import ProtocolViolation, TrunklineError
from .outcome import Broken
from .sse import Rewriting
from .upstream import Upstream

_OK: Final = 200
_UNREADABLE: Final = (TrunklineError, ValueError, RecursionError)


class Recording:
    """Reads the answer to one request, and records the response at its end.

    An answer that cannot be read, or fails, is not recorded. The response has an owner of its own: no socket
    has its context.

    Args:
        upstream: the upstream of the request.
        place: the place of the request, whose context the service got or has.
        rewriting: writes the events with the caller's ``previous_response_id``; ``None`` if that was sent.
    """

    def __init__(self, upstream: Upstream, place: Place, rewriting: Rewriting | None) -> None:
        self._upstream = upstream
        self._place = place
        self._rewriting = rewriting
        self._parser = EventParser()
        self._reception = Reception()
        self._is_over = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of an answer with status 200, and return those for the caller.

        Raises:
            Broken: an event is too large to be written anew.
        """
        if self._is_over and self._rewriting is None:
            return chunk
        try:
            frames = self._parser.feed(chunk)
        except ProtocolViolation as error:
            self._is_over = True
            if self._rewriting is None:
                return chunk
            raise Broken(str(error)) from error
        written = self._take(frames)
        return chunk if self._rewriting is None else written

    def end(self) -> bytes:
        """The body has ended. Returns the rest for the caller."""
        if self._is_over and self._rewriting is None:
            return b""
        written = self._take(self._parser.end())
        document = self._parser.document
        if document:
            self._take([document_frame(document, _OK, {})])
            written = self._written_document(document)
        return b"" if self._rewriting is None else written

    def _take(self, frames: list[bytes]) -> bytes:
        """Receive events. Returns them as the caller gets them."""
        written: list[bytes] = []
        for frame in frames:
            try:
                event = decode(frame)
            except _UNREADABLE:
                self._is_over = True
                written.append(b"data: %b\n\n" % frame)
                continue
            if not self._is_over:
                self._receive(event)
            if self._rewriting is not None:
                written.append(self._rewriting.frame(event.wire_type, frame))
        return b"".join(written)

    def _written_document(self, document: bytes) -> bytes:
        try:
            return document if self._rewriting is None else self._rewriting.resource(document.strip())
        except ValueError:  # no JSON
            return document

    def _receive(self, event: ReceivedEvent) -> None:
        reception = self._reception
        try:
            reception.receive(event, 0.0)
            self._is_over = reception.phase.is_over
            if reception.final is not None:
                self._record()
        except _UNREADABLE:
            self._is_over = True

    def _record(self) -> None:
        response, place = self._reception.response, self._place
        assert response is not None
        if place.owner is not None:
            place = replace(place, owner=Owner(), takes_over=False)
        items = tuple(Item.from_output(bytes(item)) for item in response.encoded_output or ())
        is_stored = response.store is True and self._upstream.keeps_responses
        answered = Answered(response.id, items, response.output, is_stored)
        self._upstream.memory.lineage.record(place, answered, self._upstream.now())

    def __repr__(self) -> str:
        return f"<Recording of {self._place!r}>"


__all__ = ["Recording"]
