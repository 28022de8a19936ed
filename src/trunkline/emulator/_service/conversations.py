"""Conversations that the service keeps: their items, and the context that they make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .._models.context import Context, Item
from .._protocol.errors import ApiError
from .compaction import listed
from .ids import Ids


@dataclass(slots=True, eq=False)
class KeptConversation:
    """A conversation of the service."""

    id: str
    created_at: int
    metadata: dict[str, str] = field(default_factory=dict, repr=False)
    items: list[Item] = field(default_factory=list, repr=False)
    """All items, oldest first, each with an id."""
    context: Context = field(default_factory=Context, repr=False)
    """The items as the context of the next response."""

    @property
    def resource(self) -> dict[str, Any]:
        """The conversation as the service shows it."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }


class Conversations:
    """The conversations of a server; beyond `limit`, the oldest is dropped."""

    def __init__(self, limit: int, ids: Ids, now: Callable[[], float]) -> None:
        self._limit = limit
        self._ids = ids
        self._now = now
        self._kept: OrderedDict[str, KeptConversation] = OrderedDict()

    def create(self, metadata: dict[str, str] | None, items: list[Item]) -> KeptConversation:
        """Begin a conversation.

        Raises:
            ApiError: an output among the items has no call.
        """
        conversation = KeptConversation(self._ids.new("conv"), int(self._now()), metadata or {})
        self.add(conversation, items)
        return self._keep(conversation)

    def get(self, conversation_id: str) -> KeptConversation:
        """Return a conversation.

        Raises:
            ApiError: there is none with this id.
        """
        found = self._kept.get(conversation_id)
        if found is None:
            raise ApiError(f"Conversation with id '{conversation_id}' not found.", status=404)
        return found

    def continued(self, conversation_id: str) -> KeptConversation:
        """Return the conversation that a response continues. An unknown id begins one."""
        found = self._kept.get(conversation_id)
        return found or self._keep(KeptConversation(conversation_id, int(self._now())))

    def add(self, conversation: KeptConversation, items: list[Item]) -> list[Item]:
        """Append items and return them with their ids.

        Raises:
            ApiError: an output among the items has no call; nothing is appended.
        """
        complete = [listed(self._ids, item) for item in items]
        conversation.context = conversation.context.extended(complete)
        conversation.items += complete
        return complete

    def item(self, conversation: KeptConversation, item_id: str) -> Item:
        """Return an item.

        Raises:
            ApiError: the conversation has none with this id.
        """
        for item in conversation.items:
            if item["id"] == item_id:
                return item
        raise ApiError(f"Item with id '{item_id}' not found in conversation '{conversation.id}'.", status=404)

    def delete_item(self, conversation: KeptConversation, item_id: str) -> None:
        """Remove an item.

        Raises:
            ApiError: the conversation has none with this id, or another item needs it.
        """
        unwanted = self.item(conversation, item_id)
        rest = [item for item in conversation.items if item is not unwanted]
        conversation.context = Context(None, tuple(rest))
        conversation.items = rest

    def delete(self, conversation_id: str) -> None:
        """Remove a conversation; its responses stay.

        Raises:
            ApiError: there is none with this id.
        """
        del self._kept[self.get(conversation_id).id]

    def _keep(self, conversation: KeptConversation) -> KeptConversation:
        self._kept[conversation.id] = conversation
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return conversation
