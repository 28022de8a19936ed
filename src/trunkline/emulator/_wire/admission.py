"""Admission of HTTP requests and upgrades: origins, keys and URLs, and the answers of refusals."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from aiohttp import web

from .._protocol.errors import ApiError
from .._service.records import RequestRecord
from .backend import Backend
from .live_routes import PAGE
from .routing import Handler

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_logger = logging.getLogger("trunkline.emulator")


class Admission:
    """Checks each request before its handler. Refusals here are recorded, logged and told to the observers.

    Args:
        backend: the service, the key and the origins.
        headers: makes the headers of the answer to a request.
    """

    def __init__(self, backend: Backend, headers: Callable[[web.Request], dict[str, str]]) -> None:
        self._backend = backend
        self._headers = headers

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check a request, call its handler, and translate exceptions."""
        try:
            self._backend.origins.check(request.headers)
            if "Access-Control-Request-Method" in request.headers and request.method == "OPTIONS":
                preflight = self._backend.origins.preflight(request.headers)
                return web.Response(status=204, headers=preflight)
            if request.path != PAGE:
                self._check_key(request)
        except ApiError as error:
            return self.turn_away(error, request)
        try:
            answer = await handler(request)
        except ApiError as error:  # the handlers record their refusals themselves
            return self._refusal(error, request)
        except web.HTTPException as error:
            return self.turn_away(_translated(error, request), request)
        if not answer.prepared:
            answer.headers.update(self._headers(request))
        return answer

    def turn_away(self, error: ApiError, request: web.Request) -> web.Response:
        """Record and log the refusal of a request that was not read, and answer it."""
        # The query is left out: it may hold a key.
        kind = f"{request.method} {request.rel_url.raw_path}"
        seen = RequestRecord(kind, None, request.content_length or 0, "http")
        self._backend.service.received(seen)
        self._backend.service.refused(seen, error)
        _logger.warning("refused %s with HTTP status %d: %s", kind, error.status, error.message)
        self._backend.notify(seen)
        return self._refusal(error, request)

    def _refusal(self, error: ApiError, request: web.Request) -> web.Response:
        quirks = self._backend.quirks
        headers = quirks.headers(self._headers(request) | error.headers)
        return web.json_response(
            {"error": quirks.refusal(error).body()}, status=error.status, headers=headers
        )

    def _check_key(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "")
        given = header.removeprefix("Bearer ").strip() if header.startswith("Bearer ") else ""
        given = given or request.headers.get("api-key", "")
        if not given:
            raise ApiError(
                "You didn't provide an API key. You need to provide your API key in an Authorization header"
                " using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
        expected = self._backend.api_key
        if expected is not None and not hmac.compare_digest(given.encode(), expected.encode()):
            raise ApiError("Incorrect API key provided.", status=401, code="invalid_api_key")


def _translated(error: web.HTTPException, request: web.Request) -> ApiError:
    if error.status == 413:
        return ApiError(
            f"Request body too large: at most {MAX_MESSAGE_BYTES} bytes are accepted.",
            status=413,
            code="request_too_large",
        )
    if error.status == 404:
        return ApiError(
            f"Invalid URL ({request.method} {request.path}); the emulator serves {_served(request.app)}.",
            status=404,
        )
    if error.status == 405:
        return ApiError(
            f"Not allowed to {request.method} on {request.path}; the emulator serves {_served(request.app)}.",
            status=405,
            code="method_not_supported",
        )
    return ApiError(error.reason, status=error.status)


def _served(app: web.Application) -> str:
    """All methods and paths, in one phrase."""
    methods: dict[str, list[str]] = {}
    for route in app.router.routes():
        if (
            route.resource is not None
            and route.method != "HEAD"
            and route.resource.canonical.startswith("/v1/")
        ):
            methods.setdefault(route.resource.canonical, []).append(route.method)
    paths = [f"{'/'.join(sorted(names))} {path}" for path, names in sorted(methods.items())]
    return ", ".join(paths[:-1]) + f" and {paths[-1]}"
