"""The live page at ``/``, and the data that it reads.

The page itself needs no key and has no data. It reads the key from the fragment of its URL, which browsers do
not send, and gives it with each request for data.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files

from aiohttp import web

from .._protocol.errors import ApiError
from .._service.connection import Connection
from .._service.service import Service
from .live_state import response, state
from .routing import Routing

PAGE = "/"
_NONCE = "__NONCE__"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LiveRoutes:
    """Handlers of the live page and of its data.

    Args:
        service: the service to show.
        connections: returns the open sockets, in order of opening.
    """

    def __init__(self, service: Service, connections: Callable[[], Iterable[Connection]]) -> None:
        self._service = service
        self._connections = connections

    def add_to(self, routing: Routing) -> None:
        """Register the handlers."""
        routing.add_get(PAGE, self._page)
        routing.add_get("/live", self._state)
        routing.add_get("/live/responses/{id}", self._response)

    async def _page(self, request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        headers = {name: value.replace("{nonce}", nonce) for name, value in _HEADERS.items()}
        text = _source().replace(_NONCE, nonce)
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _state(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            raise ApiError(f"Invalid 'after': expected a number, but got {after!r}.", param="after")
        return web.json_response(state(self._service, self._connections(), int(after)))

    async def _response(self, request: web.Request) -> web.Response:
        record = self._service.responses.get(request.match_info["id"])
        if record is None:
            raise ApiError(f"Response with id '{request.match_info['id']}' not found.", status=404)
        return web.json_response(response(record))


@cache
def _source() -> str:
    return files(__package__).joinpath("live.html").read_text(encoding="utf-8")
