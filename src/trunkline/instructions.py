"""Placement of the instructions of a conversation: a message at its beginning, or a field of each request.

As a message they are sent once in a chain of deltas, and cached with the rest of the context. As a field they
are sent with each request. The message is no item of the conversation: `Conversation.items` does not have it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from ._protocol.items import Item
from .errors import ConfigurationError

InstructionsPlacement: TypeAlias = Literal["auto", "message", "field"]
"""``message``: a ``developer`` message at the beginning of the context. ``field``: the field ``instructions``
of each request. ``auto``: a message with ``api.openai.com``, else a field, because other servers may not know
the role."""

Placement: TypeAlias = Literal["message", "field"]
"""The placement at one endpoint."""

_PLACEMENTS: Final = get_args(InstructionsPlacement)


def placement_of(value: InstructionsPlacement, *, is_openai: bool) -> Placement:
    """The placement at an endpoint.

    Raises:
        ConfigurationError: the value is something else.
    """
    if value not in _PLACEMENTS:
        given = repr(value) if isinstance(value, str) else type(value).__name__
        raise ConfigurationError(
            f"instructions_placement must be 'auto', 'message' or 'field', not {given}",
            argument="instructions_placement",
        )
    if value == "auto":
        return "message" if is_openai else "field"
    return value


def leading_message(instructions: str) -> Item:
    """The message with the instructions."""
    return Item.of({"type": "message", "role": "developer", "content": instructions})


__all__ = ["InstructionsPlacement", "Placement", "leading_message", "placement_of"]
