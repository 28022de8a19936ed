"""HTTP routes of conversations and their items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .._protocol.request_fields import CONVERSATION, CONVERSATION_ITEMS, CONVERSATION_UPDATE
from .._service.conversations import KeptConversation
from .._service.service import Service
from .page import listing, page
from .request_log import RequestLog
from .routing import Routing

_PATH = "/v1/conversations"


class ConversationRoutes:
    """Handlers of all routes of conversations."""

    def __init__(self, service: Service, log: RequestLog) -> None:
        self._conversations = service.conversations
        self._log = log

    def add_to(self, routing: Routing) -> None:
        """Register the handlers."""
        routing.add_post(_PATH, self._create)
        routing.add_get(_PATH + "/{id}", self._retrieve)
        routing.add_post(_PATH + "/{id}", self._update)
        routing.add_delete(_PATH + "/{id}", self._delete)
        routing.add_post(_PATH + "/{id}/items", self._add_items)
        routing.add_get(_PATH + "/{id}/items", self._list_items)
        routing.add_get(_PATH + "/{id}/items/{item_id}", self._retrieve_item)
        routing.add_delete(_PATH + "/{id}/items/{item_id}", self._delete_item)

    async def _create(self, request: web.Request) -> web.Response:
        def create(body: dict[str, Any], _: object) -> dict[str, Any]:
            CONVERSATION(body, "")
            return self._conversations.create(body.get("metadata"), body.get("items") or []).resource

        return web.json_response(await self._log.answered("conversation.create", request, create))

    async def _retrieve(self, request: web.Request) -> web.Response:
        return self._answer("conversation.retrieve", request, lambda conversation: conversation.resource)

    async def _update(self, request: web.Request) -> web.Response:
        def update(body: dict[str, Any], _: object) -> dict[str, Any]:
            CONVERSATION_UPDATE(body, "")
            conversation = self._named(request)
            conversation.metadata = body["metadata"] or {}
            return conversation.resource

        return web.json_response(await self._log.answered("conversation.update", request, update))

    async def _delete(self, request: web.Request) -> web.Response:
        def delete(conversation: KeptConversation) -> dict[str, Any]:
            self._conversations.delete(conversation.id)
            return {"id": conversation.id, "object": "conversation.deleted", "deleted": True}

        return self._answer("conversation.delete", request, delete)

    async def _add_items(self, request: web.Request) -> web.Response:
        def add(body: dict[str, Any], _: object) -> dict[str, Any]:
            CONVERSATION_ITEMS(body, "")
            return listing(self._conversations.add(self._named(request), body["items"]))

        return web.json_response(await self._log.answered("conversation.items.create", request, add))

    async def _list_items(self, request: web.Request) -> web.Response:
        return self._answer(
            "conversation.items.list",
            request,
            lambda conversation: page(conversation.items, request.query),
        )

    async def _retrieve_item(self, request: web.Request) -> web.Response:
        return self._answer(
            "conversation.items.retrieve",
            request,
            lambda conversation: self._conversations.item(conversation, request.match_info["item_id"]),
        )

    async def _delete_item(self, request: web.Request) -> web.Response:
        def delete(conversation: KeptConversation) -> dict[str, Any]:
            self._conversations.delete_item(conversation, request.match_info["item_id"])
            return conversation.resource

        return self._answer("conversation.items.delete", request, delete)

    def _answer(
        self, kind: str, request: web.Request, answer: Callable[[KeptConversation], dict[str, Any]]
    ) -> web.Response:
        """Answer a request without a body about the conversation that its path names."""
        return web.json_response(self._log.noted(kind, request, b"", lambda _: answer(self._named(request))))

    def _named(self, request: web.Request) -> KeptConversation:
        return self._conversations.get(request.match_info["id"])
