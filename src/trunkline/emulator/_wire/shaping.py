"""Events in the shape that a server with quirks sends."""

from __future__ import annotations

from collections.abc import Iterator

from .._protocol.events import Event
from .._service.moves import Move
from ..quirks.quirks import Quirks


def shape(moves: Iterator[Move], quirks: Quirks) -> Iterator[Move]:
    """The moves of a response with its events in the server's shape."""
    return _shaped(moves, quirks) if quirks.reshapes else moves


def _shaped(moves: Iterator[Move], quirks: Quirks) -> Iterator[Move]:
    for move in moves:
        if type(move) is Event:
            yield from quirks.shaped(move)
        else:
            yield move
