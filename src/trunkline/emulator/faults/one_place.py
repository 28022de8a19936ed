"""A response whose text, or refusal, stands in one place of its stream only, as gateways send it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, get_args

import msgspec

from .._protocol.events import Event
from .._service.moves import Move

TextPlace = Literal["deltas", "done", "final"]
PLACES: Final = get_args(TextPlace)
_DELTAS = ("response.output_text.delta", "response.refusal.delta")
_OF_PARTS = ("response.output_text.", "response.refusal.", "response.content_part.")
_OF_ITEMS = ("response.output_item.added", "response.output_item.done")
_ENDS = ("response.completed", "response.incomplete")

_encode = msgspec.json.Encoder().encode


def in_one_place(moves: Iterator[Move], place: TextPlace) -> Iterator[Move]:
    """The moves of a response without the text in other places. Events are numbered anew.

    Args:
        moves: the moves.
        place: one of `PLACES`.
    """
    dropped = 0
    for move in moves:
        if type(move) is not Event:
            yield move
            continue
        content = msgspec.json.decode(move.data)
        if not _is_kept(move.type, content, place):
            dropped += 1
            continue
        if place != "final" and move.type in _ENDS:
            response = content["response"]
            response["output"] = [item for item in response["output"] if item["type"] != "message"]
        if isinstance(content.get("sequence_number"), int):
            content["sequence_number"] -= dropped
        yield Event(move.type, _encode(content))


def _is_kept(kind: str, content: dict[str, Any], place: TextPlace) -> bool:
    if kind in _DELTAS:
        return place == "deltas"
    is_of_text = kind.startswith(_OF_PARTS) or (kind in _OF_ITEMS and content["item"]["type"] == "message")
    return not is_of_text or (place == "done" and kind.endswith(".done"))
