"""HTTP routes: create, retrieve, delete, cancel, compact and count responses; list models."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from .._models.models import LISTED
from .._protocol.errors import ApiError
from .._protocol.request import check_create
from .._service.compaction import listed
from .._service.generation import Generation
from .._service.records import RequestRecord, ResponseRecord
from ..faults.action import Action
from ..faults.fault import Place
from ..faults.strike import rejection, without_parent
from .backend import Backend
from .conversation_routes import ConversationRoutes
from .headers import ORGANIZATION, answer_headers
from .http_session import complete, stream
from .page import page
from .request_log import RequestLog
from .routing import Routing
from .shaping import shape


class Routes:
    """Handlers of all routes except the WebSocket."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._service = backend.service
        self._log = RequestLog(backend)
        self._conversations = ConversationRoutes(self._service, self._log)
        self._background: dict[str, asyncio.Task[None]] = {}

    def add_to(self, routing: Routing) -> None:
        """Register the handlers."""
        routing.add_post("/v1/responses", self._create)
        routing.add_post("/v1/responses/compact", self._compact)
        routing.add_post("/v1/responses/input_tokens", self._count_tokens)
        routing.add_get("/v1/responses/{id}", self._retrieve)
        routing.add_delete("/v1/responses/{id}", self._delete)
        routing.add_get("/v1/responses/{id}/input_items", self._input_items)
        routing.add_post("/v1/responses/{id}/cancel", self._cancel)
        routing.add_get("/v1/models", self._models)
        routing.add_get("/v1/models/{id}", self._model)
        self._conversations.add_to(routing)

    def headers(self, request: web.Request) -> dict[str, str]:
        """The response headers for a request."""
        own = answer_headers(
            self._service.ids.new("req"),
            organization=request.headers.get(ORGANIZATION),
            requests=len(self._service.requests),
            tokens=self._service.tokens_used,
        )
        return own | self._backend.origins.headers(request.headers)

    async def stop(self) -> None:
        """Cancel the background responses and wait for their tasks."""
        tasks = list(self._background.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body, generation, place = await self._log.answered("response.create", request, self._start)
        moves = self._backend.faults.play(generation.moves(), place)
        asked = check_create(body, transport="http")
        if asked.background and not asked.stream:
            return self._in_background(generation)
        try:
            if asked.stream:
                shaped = shape(moves, self._backend.quirks)
                return await stream(request, shaped, self._backend.pace, self.headers(request))
            failure = await complete(moves, self._backend.pace, request)
        finally:
            self._service.abandon(generation)
        if failure is not None:
            raise _raised(failure)
        return web.json_response(generation.record.resource)

    def _start(self, body: dict[str, Any], seen: RequestRecord) -> tuple[dict[str, Any], Generation, Place]:
        model = body.get("model")
        place = Place(
            request=self._backend.count_request(),
            model=model if isinstance(model, str) else None,
            transport="http",
        )
        for fault in self._backend.faults.at_request(place):
            if fault.action is Action.REJECT:
                raise rejection(fault)
            if fault.action is Action.IGNORE_PARENT:
                body = without_parent(body)
        generation = self._service.create(body, seen)
        return body, generation, replace(place, response_id=generation.record.id)

    def _in_background(self, generation: Generation) -> web.Response:
        record = generation.record
        record.resource = record.resource | {"status": "queued"}
        record.status = "queued"
        queued = record.resource
        task = asyncio.create_task(self._run(generation), name=f"background {record.id}")
        self._background[record.id] = task
        task.add_done_callback(lambda _: self._background.pop(record.id, None))
        return web.json_response(queued)

    async def _run(self, generation: Generation) -> None:
        record = generation.record
        record.status = "in_progress"
        record.resource = record.resource | {"status": "in_progress"}
        try:
            await complete(generation.moves(), self._backend.pace)
        finally:
            self._service.abandon(generation)

    async def _compact(self, request: web.Request) -> web.Response:
        return web.json_response(
            await self._log.answered("response.compact", request, lambda body, _: self._service.compact(body))
        )

    async def _count_tokens(self, request: web.Request) -> web.Response:
        return web.json_response(
            await self._log.answered(
                "response.input_tokens", request, lambda body, _: self._service.count_tokens(body)
            )
        )

    async def _retrieve(self, request: web.Request) -> web.Response:
        return web.json_response(self._known("response.retrieve", request).resource)

    async def _delete(self, request: web.Request) -> web.Response:
        record = self._known("response.delete", request)
        self._service.store.delete(record.id)
        return web.json_response({"id": record.id, "object": "response", "deleted": True})

    async def _cancel(self, request: web.Request) -> web.Response:
        record = self._known("response.cancel", request)
        if not record.resource["background"]:
            raise ApiError("Cannot cancel a synchronous response.", param="response_id")
        task = self._background.get(record.id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return web.json_response(record.resource)

    async def _input_items(self, request: web.Request) -> web.Response:
        record = self._known("response.input_items", request)
        ids = self._service.ids
        items = self._service.store.input_items(record, lambda: [listed(ids, item) for item in record.input])
        return web.json_response(page(items, request.query))

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [_model(name) for name in LISTED]})

    async def _model(self, request: web.Request) -> web.Response:
        return web.json_response(_model(request.match_info["id"]))

    def _known(self, kind: str, request: web.Request) -> ResponseRecord:
        """The stored response named by the path."""
        response_id = request.match_info["id"]
        record: ResponseRecord = self._log.noted(
            kind, request, b"", lambda _: self._service.stored(response_id)
        )
        return record


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "emulator"}


def _raised(failure: bytes) -> ApiError:
    """The error in an ``error`` event."""
    event = msgspec.json.decode(failure)
    error = event.get("error", event)
    return ApiError(
        error["message"],
        status=event.get("status", 500),
        code=error.get("code"),
        param=error.get("param"),
        type=error.get("type", "server_error"),
        headers=error.get("headers"),
    )
