"""What a request asks the scripted server for.

The newest text of a request that looks like ``<<deltas=100 rate=50>>`` is the order, in whatever item it
stands, so that every client can give one through its own kind of history.
"""

from __future__ import annotations

import re

from msgspec import Struct, json

_ORDER = re.compile(rb"<<([a-z0-9= .]*)>>")


class Request(Struct):
    """What the server reads of a request."""

    type: str = "response.create"
    model: str = "model"
    stream_id: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    generate: bool = True


class Order(Struct, frozen=True):
    """What to answer.

    Attributes:
        deltas: how many pieces of text.
        rate: pieces in a second; as fast as they are taken when 0.
        stamp: each piece is the time of its sending; otherwise the first is that of the request's arrival.
        call: how many tool calls are still to be made, one a response, before there is text.
        close: drop the socket after the answer.
        drop: drop the socket before any output.
    """

    deltas: int = 1
    rate: int = 0
    stamp: int = 0
    call: int = 0
    close: int = 0
    drop: int = 0


decode_request = json.Decoder(Request).decode


def order_of(body: bytes) -> Order:
    """The newest order in a request's bytes."""
    start = body.rfind(b"<<")
    match = _ORDER.match(body, start) if start >= 0 else None
    if match is None:
        return Order()
    pairs = (pair.split(b"=") for pair in match[1].split())
    return Order(**{name.decode(): int(value) for name, value in pairs})


def text_of(order: Order) -> str:
    """The order as it is written into a message."""
    given = ((name, getattr(order, name)) for name in order.__struct_fields__)
    return "<<" + " ".join(f"{name}={value}" for name, value in given if value) + ">>"
