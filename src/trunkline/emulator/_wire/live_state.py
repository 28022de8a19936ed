"""The state of a server as plain JSON, for its live page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._service.connection import Connection
from .._service.records import RequestRecord, ResponseRecord
from .._service.service import Service

MAX_REQUESTS = 200
"""The number of requests that one answer has at most."""


def state(service: Service, connections: Iterable[Connection], after: int) -> dict[str, Any]:
    """Open sockets with their lanes, and the requests after a number, oldest first."""
    newest = list(service.requests)[-MAX_REQUESTS:]
    return {
        "quirks": list(service.settings.quirks.names),
        "sockets": [_socket(connection) for connection in connections],
        "requests": [_request(seen, service) for seen in newest if seen.number > after],
        "last": newest[-1].number if newest else 0,
    }


def response(record: ResponseRecord) -> dict[str, Any]:
    """A response with the context that its model saw."""
    return {
        "id": record.id,
        "model": record.model,
        "status": record.status,
        "transport": record.transport,
        "lane": record.lane,
        "parent": record.previous_response_id,
        "successor_of": record.successor_of,
        "store": record.store,
        "request_bytes": record.request_bytes,
        "instructions": record.instructions,
        "tools": [tool.get("name") or tool["type"] for tool in record.tools],
        "context": record.effective_context,
        "new": len(record.input),
        "removed": record.dropped_reasoning,
        "output": record.output,
        "usage": record.resource["usage"],
        "error": record.resource["error"],
    }


def _socket(connection: Connection) -> dict[str, Any]:
    running = {generation.record.lane: generation.record for generation, _ in connection.running.values()}
    return {
        "number": connection.record.number,
        "in_flight": connection.lanes.in_flight,
        "lanes": [
            {
                "name": name,
                "response": running[name].id if name in running else None,
                "busy": busy,
                "waiting": waiting,
            }
            for name, busy, waiting in connection.lanes.load
            # The default lane of a socket with named lanes is of no interest.
            if name is not None or busy or waiting or len(connection.lanes.load) == 1
        ],
    }


def _request(seen: RequestRecord, service: Service) -> dict[str, Any]:
    body = seen.body or {}
    record = service.responses.get(seen.response_id or "")
    given = body.get("input")
    model = body.get("model")
    return {
        "number": seen.number,
        "at": seen.received_at,
        "kind": seen.kind,
        "transport": seen.transport,
        "lane": seen.lane,
        "model": model if isinstance(model, str) else None,
        "items": len(given) if isinstance(given, list) else 1 if given else 0,
        "size_bytes": seen.size_bytes,
        "parent": record.previous_response_id if record is not None else None,
        "response": seen.response_id,
        "status": record.status if record is not None else None,
        "context": record.context.length if record is not None else None,
        "error": seen.error,
    }
