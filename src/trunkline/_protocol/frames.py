"""Frames of requests and steers, and the body of a request over HTTP.

A request is a join of bytes that were encoded before: the fields, then the items. Reasoning that a request
cannot carry is omitted: without encrypted content, and without an id that the service can look up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .fields import Fields
from .history import History
from .items import Item, TurnInput
from .json import copy_json, encode

_OF_COMPACTIONS: Final = (
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
)
_CREATE: Final = b'{"type":"response.create",'


def frame(
    fields: Fields,
    items: Iterable[Item],
    *,
    previous_response_id: str | None = None,
    stream_id: str | None = None,
    generate: bool = True,
    looks_up: bool = True,
) -> bytes:
    """A ``response.create`` frame for the socket.

    Args:
        fields: the fields of the request.
        items: the input items.
        previous_response_id: the parent.
        stream_id: the lane.
        generate: ``False`` for a warm-up.
        looks_up: the service finds items by their ids; otherwise items that have only an id are left out.
    """
    envelope = _CREATE
    if stream_id is not None:
        envelope += b'"stream_id":"%b",' % stream_id.encode()
    if not generate:
        envelope += b'"generate":false,'
    return envelope + _body(fields, items, previous_response_id, looks_up)


def http_body(
    fields: Fields,
    items: Iterable[Item],
    *,
    previous_response_id: str | None = None,
    looks_up: bool = True,
    opening: bytes = b'"stream":true,',
) -> bytes:
    """The body of the same request as a ``POST``; arguments as for `frame`.

    It asks for a stream, unless the ``opening``, members that end in a comma, says otherwise.
    """
    return b"{" + opening + _body(fields, items, previous_response_id, looks_up)


def compact_body(fields: Fields, items: Iterable[Item]) -> bytes:
    """The body of ``POST /responses/compact``: the model, the history, and fields of cache and service."""
    known = {name: fields.get(name) for name in _OF_COMPACTIONS}
    head = Fields.of({"model": fields.model, **known}).head
    encoded = b",".join([item.portable for item in items if item.is_resendable])
    return b'{%b,"input":[%b]}' % (head, encoded)


def size_in_full(fields: Fields, asked: History, stream_id: str | None) -> int:
    """The size of a frame with the whole context, in bytes."""
    return len(frame(fields, (), stream_id=stream_id)) + max(0, asked.size_bytes - 1)


def _body(fields: Fields, items: Iterable[Item], previous_response_id: str | None, looks_up: bool) -> bytes:
    parent = b""
    if previous_response_id is not None:
        parent = b',"previous_response_id":' + encode(previous_response_id)
    if fields.store is False or not looks_up:
        encoded = b",".join([item.portable for item in items if item.is_resendable])
    else:
        # Ids of messages and calls carry no meaning, and the service refuses those that it did not store.
        encoded = b",".join(
            [
                item.encoded if item.is_server_only else item.portable
                for item in items
                if item.is_resendable or item.has_id
            ]
        )
    return b"".join((fields.head, parent, b',"input":[', encoded, b"]}"))


def steer_frame(response_id: str, given: TurnInput) -> bytes:
    """A ``response.steer`` frame. The protocol allows exactly these three fields."""
    spoken = [given] if isinstance(given, Mapping) else given
    return encode(
        {
            "type": "response.steer",
            "previous_response_id": response_id,
            "input": copy_json(spoken, "input")[0],
        }
    )
