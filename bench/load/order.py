"""Orders to the scripted server inside requests.

The last text of the form ``<<deltas=100 rate=50>>`` in a request is the order. Any item can hold it, so that
every client can place it in its own kind of history.
"""

from __future__ import annotations

import re

from msgspec import Struct, json

_ORDER = re.compile(rb"<<([a-z0-9= .]*)>>")


class Request(Struct):
    """The fields of a request that the server reads."""

    type: str = "response.create"
    model: str = "model"
    stream_id: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    generate: bool = True


class Order(Struct, frozen=True):
    """The answer to send.

    Attributes:
        deltas: the number of text deltas.
        rate: deltas per second; 0 for as fast as they are read.
        stamp: each delta holds its time of sending; otherwise the first holds the time of the request.
        call: the number of tool calls still to be made, one per response, before the text.
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
    """The last order in the bytes of a request."""
    start = body.rfind(b"<<")
    match = _ORDER.match(body, start) if start >= 0 else None
    if match is None:
        return Order()
    pairs = (pair.split(b"=") for pair in match[1].split())
    return Order(**{name.decode(): int(value) for name, value in pairs})


def text_of(order: Order) -> str:
    """The order as text for a message."""
    given = ((name, getattr(order, name)) for name in order.__struct_fields__)
    return "<<" + " ".join(f"{name}={value}" for name, value in given if value) + ">>"
