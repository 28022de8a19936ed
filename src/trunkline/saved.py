"""Saved conversations and keys: plain JSON, with which another process continues.

A saved value has the stored responses that a request can name as its parent. Responses that only a lane of a
socket has are left out, because they end with the socket.

::

    {"version": 1, "kind": "key", "endpoint": …, "responses": …}
    {"version": 1, "kind": "conversation", "endpoint": …, "responses": …, "fields": …, "items": …}

A response is found by the mark of its context, see `_protocol.history`. If a later version computes marks in
another way, no saved response matches, and the next request is sent in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, field

from ._decisions.baselines import Baseline, Baselines
from ._decisions.placement import Owner
from ._protocol.fields import Fields
from ._protocol.history import History
from ._protocol.items import Item
from ._protocol.json import JSON, copy_json, encode
from ._protocol.quiet import QuietStruct
from .errors import ConfigurationError
from .instructions import InstructionsPlacement

VERSION: Final = 1

T = TypeVar("T", bound="_Saved")


class _Response(QuietStruct, frozen=True):
    """A stored response.

    Attributes:
        id: its id.
        model: the model of its request.
        length: the number of items in its context.
        mark: the mark of these items, in hexadecimal.
        output: its output items.
        identities: the identities of output items that their JSON does not give, by position.
    """

    id: str
    model: str
    length: Annotated[int, Meta(ge=0)]
    mark: str
    output: list[JSON]
    identities: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, baseline: Baseline) -> _Response:
        identities = {
            str(index): item.identity.hex()
            for index, item in enumerate(baseline.output)
            if Item.from_output(encode(item.json())) != item
        }
        return cls(
            baseline.response_id,
            baseline.model,
            baseline.length,
            baseline.mark.hex(),
            [item.json() for item in baseline.output],
            identities,
        )

    def baseline(self) -> Baseline:
        output = [Item.from_output(encode(value)) for value in self.output]
        for index, identity in self.identities.items():
            output[int(index)].identity = bytes.fromhex(identity)
        return Baseline(
            response_id=self.id,
            model=self.model,
            stored=True,
            lane=None,
            length=self.length,
            mark=bytes.fromhex(self.mark),
            output=tuple(output),
            at=float("-inf"),  # a response that is not found any more may simply be old
        )


class _Saved(QuietStruct, frozen=True):
    """What both kinds have in common.

    Attributes:
        endpoint: the URL of the responses, without its query.
        responses: the stored responses, oldest first.
    """

    endpoint: str
    responses: list[_Response]

    def parents(self, endpoint: str) -> Baselines:
        """The responses that the service of an endpoint may have; none if they are another endpoint's."""
        restored = Baselines()
        if self.endpoint == endpoint:
            for response in self.responses:
                restored.commit(response.baseline())
        return restored


class SavedKey(_Saved, frozen=True):
    """A saved key."""


class SavedConversation(_Saved, frozen=True):
    """A saved conversation.

    Attributes:
        fields: the fields of its requests, the instructions included.
        items: its history.
        instructions_placement: the placement of its instructions, as it was given.
        name: the name by which gateways know it again, in hexadecimal; empty for none.
    """

    fields: JSON
    items: list[JSON]
    instructions_placement: InstructionsPlacement = "auto"
    name: Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")] = ""

    def owner(self, endpoint: str) -> Owner:
        """The owner of the turns of the restored conversation, with an endpoint."""
        return Owner(self.parents(endpoint), bytes.fromhex(self.name) or None)


def saved_key(endpoint: str, responses: Iterable[Baseline]) -> JSON:
    """A key as plain JSON."""
    return _saved("key", endpoint, responses)


def saved_conversation(
    endpoint: str,
    fields: Fields,
    history: History,
    responses: Iterable[Baseline],
    *,
    name: bytes | None,
    lead: int,
    placement: InstructionsPlacement,
) -> JSON:
    """A conversation as plain JSON. Responses to a context that is not its beginning are left out.

    Args:
        endpoint: the URL of the responses, without its query.
        fields: the fields of its requests, the instructions included.
        history: its history.
        responses: the responses that may be stored.
        name: the name by which gateways know it again; ``None`` if it has none yet.
        lead: the number of items at the beginning of the history that hold instructions.
        placement: the placement of instructions, as it was given.
    """
    current = [each for each in responses if history.position_of(each.mark, near=each.length) is not None]
    own, _ = copy_json(fields.values(), "fields")
    return {
        **_saved("conversation", endpoint, current),
        "fields": own,
        "items": history.json(lead),
        "instructions_placement": placement,
        **({"name": name.hex()} if name is not None else {}),
    }


def restored_key(saved: object) -> SavedKey:
    """Read the value of `saved_key`.

    Raises:
        ConfigurationError: it is something else, of a newer version, or damaged.
    """
    return _restored(saved, "key", SavedKey, "Client.save()")


def restored_conversation(saved: object) -> SavedConversation:
    """Read the value of `saved_conversation`.

    Raises:
        ConfigurationError: it is something else, of a newer version, or damaged.
    """
    return _restored(saved, "conversation", SavedConversation, "Conversation.save()")


def _saved(kind: str, endpoint: str, responses: Iterable[Baseline]) -> JSON:
    stored = [
        msgspec.to_builtins(_Response.of(each)) for each in responses if each.stored and each.keeps_clear_id
    ]
    return {"version": VERSION, "kind": kind, "endpoint": endpoint, "responses": stored}


def _restored(saved: object, kind: str, shape: type[T], source: str) -> T:
    version = saved.get("version") if isinstance(saved, Mapping) else None
    if not isinstance(saved, Mapping) or type(version) is not int or saved.get("kind") != kind:
        raise _refused(f"saved is no value of {source}; give what {source} returned")
    if version != VERSION:
        raise _refused(
            f"saved has version {version}, and this version of trunkline reads version {VERSION}; "
            "use a newer version of trunkline"
        )
    try:
        read = msgspec.convert(dict(saved), shape)
        for response in read.responses:
            response.baseline()
    except (ValueError, LookupError, RecursionError, ConfigurationError) as error:
        # Messages of msgspec name types and places; others may show content.
        why = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
        raise _refused(f"saved is damaged{why}; start anew with the whole history") from None
    return read


def _refused(message: str) -> ConfigurationError:
    return ConfigurationError(message, argument="saved")


def endpoint_of(url: str) -> str:
    """The URL of an endpoint without its query, which may hold a key."""
    return url.partition("?")[0]


__all__ = [
    "SavedConversation",
    "SavedKey",
    "endpoint_of",
    "restored_conversation",
    "restored_key",
    "saved_conversation",
    "saved_key",
]
