"""The body of a request for a response, as its turn needs it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from .._decisions.inputs import Body
from .._decisions.lineage import Asked
from .._protocol.fields import Fields
from .._protocol.frames import http_body
from .._protocol.items import Item
from .._protocol.json import decode, encode
from .._protocol.quiet import QuietStruct

PARENT: Final = "previous_response_id"
_OF_HTTP: Final = frozenset({"stream", "stream_options"})
_ASIDE: Final = _OF_HTTP | {PARENT}
_INSTRUCTIONS_AND_TOOLS: Final = frozenset({"instructions", "tools"})
_CACHE_OPTIONS: Final = "prompt_cache_options"
_COMPARISON: Final = "comparison_response_id"
_ONLY_HTTP: Final = frozenset({"background", "betas", "generate", "stream_id", "type"})
"""Fields that have another meaning in a frame, or that no frame can have."""


class Wanted(QuietStruct, frozen=True):
    """A request for a response.

    Attributes:
        is_streamed: the answer is a stream of events; otherwise one JSON document.
        parent_id: the caller's ``previous_response_id``.
        fields: all fields of its frame except the input and the parent.
        fields_key: a hash of all fields but the input.
        other_fields_key: the same without instructions and tools.
        stream_members: the members that only HTTP has, for a body of our own.
    """

    is_streamed: bool
    parent_id: str | None
    fields: Fields
    fields_key: bytes
    other_fields_key: bytes
    stream_members: bytes

    @classmethod
    def of(cls, body: Body) -> Wanted:
        """Read the fields of a body.

        Raises:
            ValueError: the request cannot be sent in a frame, or the service would refuse it.
            RecursionError: a field is nested too deeply.
        """
        members = body.members
        for name in _ONLY_HTTP:
            if members.get(name, b"null") not in (b"null", b"false" if name == "background" else b"null"):
                raise ValueError(f"{name} needs HTTP")
        stream = members.get("stream", b"false")
        if stream not in (b"true", b"false", b"null"):
            raise ValueError("stream is no boolean")
        parent_id = decode(members.get(PARENT, b"null"))
        if parent_id is not None and not (isinstance(parent_id, str) and parent_id):
            raise ValueError("previous_response_id is no string")
        sent = {name: value for name, value in members.items() if name not in _ASIDE | _ONLY_HTTP}
        stream_members = b"".join(
            b'"%b":%b,' % (name.encode(), members[name]) for name in sorted(_OF_HTTP & members.keys())
        )
        meant = _without_comparison(sent)
        others = {name: value for name, value in meant.items() if name not in _INSTRUCTIONS_AND_TOOLS}
        return cls(
            stream == b"true", parent_id, Fields.received(sent), _hash(meant), _hash(others), stream_members
        )

    def asked(self, body: Body, key: Hashable) -> Asked:
        """The request, as the lineage sees it."""
        return Asked(
            fields=self.fields_key,
            other_fields=self.other_fields_key,
            items=body.items,
            parent_id=self.parent_id,
            key=key,
            has_context=self.fields.brings_context,
            compacts=self.fields.get("context_management") is not None,
        )

    def http_body(self, items: Sequence[Item]) -> bytes:
        """The body of the same request over HTTP, with these items and without a parent.

        For a service that does not store responses: items of earlier ones are sent without ids.
        """
        return http_body(self.fields, items, looks_up=False, opening=self.stream_members)


def _without_comparison(members: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The members without the response with which the service compares its cache.

    It names the latest response of the conversation, so that it differs in each turn. It has no effect on the
    answer.
    """
    options = members.get(_CACHE_OPTIONS)
    value = decode(options) if options is not None else None
    if not isinstance(value, dict):
        return members
    value.pop(_COMPARISON, None)
    others = {name: member for name, member in members.items() if name != _CACHE_OPTIONS}
    return {**others, _CACHE_OPTIONS: encode(value)} if value else others


def _hash(members: Mapping[str, bytes]) -> bytes:
    """A hash that is equal for equal members in any order."""
    digest = blake2b(digest_size=16)
    for name in sorted(members):
        value = members[name]
        digest.update(b"%d %d " % (len(name), len(value)) + name.encode() + value)
    return digest.digest()


__all__ = ["PARENT", "Wanted"]
