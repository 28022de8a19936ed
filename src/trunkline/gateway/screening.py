"""Screening of requests whose upstream key is shared: what they name must be the tenant's own.

With a shared key, each id of a response, file or container that the service knows would be open to every
tenant. A response id is passed on if this gateway delivered the response to the tenant; no other id is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from .._protocol.json import decode, decode_strictly
from .refusal import Refused

_NAMES_OF_IDS: Final = frozenset(
    {
        "comparison_response_id",
        "container",
        "container_id",
        "conversation",
        "file_id",
        "file_ids",
        "prompt",
        "skill_id",
        "vector_store_ids",
    }
)
_REFERENCE: Final = "item_reference"
_IMAGE: Final = "image_generation_call"
_TRACES: Final = tuple(f'"{name}"'.encode() for name in sorted({*_NAMES_OF_IDS, _REFERENCE, _IMAGE}))
_SCHEMAS: Final = {
    "function": frozenset({"parameters", "output_schema"}),
    "json_schema": frozenset({"schema"}),
}
"""Members that hold a JSON schema, by the type of their object. Names in it are the caller's."""
_UNSTORED: Final = b'"store":false,'
_METADATA: Final = "metadata"
"""A member of the request with pairs of strings, which the service only repeats."""
_ESCAPED: Final = b"\\u"
_MAKES_A_CONTAINER: Final = "auto"

_members_of: Final[Callable[[bytes], dict[str, Raw]]] = msgspec.json.Decoder(dict[str, Raw]).decode


def members_of(body: bytes) -> dict[str, Raw]:
    """The members of the object in a body, undecoded.

    Raises:
        Refused: the body is no JSON object.
    """
    try:
        return _members_of(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not a JSON object") from None


def value_of(members: Mapping[str, Raw], name: str) -> Any:
    """The value of a member; ``None`` without it.

    Raises:
        Refused: the member is not JSON.
    """
    try:
        return decode(bytes(members[name])) if name in members else None
    except (ValueError, RecursionError):
        raise Refused(400, f"{name} is not valid JSON", param=name) from None


def check_strictly(body: bytes) -> None:
    """Check that each reader of a body reads the same.

    Raises:
        Refused: an object has the same key twice, or the body is no JSON.
    """
    try:
        decode_strictly(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON, or an object in it has the same key twice") from None


def check_ids(body: bytes, members: Mapping[str, Raw], knows: Callable[[str], bool]) -> None:
    """Check that a request names nothing that belongs to another tenant.

    Args:
        body: the body.
        members: its members.
        knows: whether a response was delivered to the tenant.

    Raises:
        Refused: it names something else.
    """
    if value_of(members, "background") is True:
        raise Refused(400, "background responses are not served with a shared key", param="background")
    parent_id = value_of(members, "previous_response_id")
    if parent_id is not None and not (isinstance(parent_id, str) and knows(parent_id)):
        raise Refused(
            400,
            f"Previous response with id {parent_id!r} not found.",
            code="previous_response_not_found",
            param="previous_response_id",
        )
    # Most requests have none of the names. A name may be written with escapes.
    if _ESCAPED in body or any(trace in body for trace in _TRACES):
        try:
            request = decode_strictly(body)
            named = _id_in({name: value for name, value in request.items() if name != _METADATA})
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON, or an object in it has the same key twice") from None
        if named:
            raise Refused(
                400, f"{named} is not served with a shared key: it may be another tenant's", param=named
            )


def outlined(
    body: bytes, outline_of: Callable[[bytes], bytes], *, stores: bool
) -> tuple[bytes, bytes, dict[str, Raw]]:
    """The body to send, and what of the given one is new: as bytes, and by members.

    Args:
        body: a body.
        outline_of: the body without the items that were sent before; see `Door.outline`.
        stores: responses may be stored. Otherwise the body to send has ``store: false``.

    Raises:
        Refused: the body is no JSON object.
    """
    outline = outline_of(body)
    if stores:
        return body, outline, members_of(outline)
    start = body.find(b"{") + 1
    unstored = b"".join((body[:start], _UNSTORED, memoryview(body)[start:]))
    if len(outline) == len(body) and body[start : start + 1] == b'"':
        # Bodies without the member were sent with it.
        found = outline_of(unstored)
        outline = found[:start] + found[start + len(_UNSTORED) :]
    members = members_of(outline)
    if bytes(members.get("store", b"")) == b"false":
        return body, outline, members
    if "store" not in members and members:
        return unstored, outline, members
    return msgspec.json.encode({**members_of(body), "store": Raw(b"false")}), outline, members


def _id_in(value: Any) -> str:
    """The name of the first member that holds an id of the service; empty for none."""
    if isinstance(value, list):
        return next((found for each in value if (found := _id_in(each))), "")
    if not isinstance(value, dict):
        return ""
    kind = value.get("type")
    if kind == _REFERENCE:
        return _REFERENCE
    if kind == _IMAGE and not value.get("result"):
        return _IMAGE  # the service takes the image of the id
    schemas = _SCHEMAS.get(kind, ()) if isinstance(kind, str) else ()
    for name, each in value.items():
        if name in schemas:
            continue
        if name in _NAMES_OF_IDS and each is not None:
            made_here = isinstance(each, dict) and each.get("type") == _MAKES_A_CONTAINER
            if name != "container" or not made_here or _id_in(each):
                return str(name)
        found = _id_in(each)
        if found:
            return found
    return ""


__all__ = ["check_ids", "check_strictly", "members_of", "outlined", "value_of"]
