"""Registration of handlers behind the admission of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Answer(Protocol):
    """Checks a request, and answers it with its handler."""

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse: ...


class Routing:
    """Registers handlers, each behind the admission.

    The admission is not a middleware: aiohttp caches handlers with middlewares for the life of the process,
    and each of them would keep a stopped server with all its records.

    Args:
        app: the application without other routes.
        answer: answers the requests of all routes, and those without a route.
    """

    def __init__(self, app: web.Application, answer: Answer) -> None:
        self._router = app.router
        self._answer = answer

    def add_get(self, path: str, handler: Handler) -> None:
        """Register a handler of GET and HEAD."""
        self._router.add_get(path, self._admitted(handler))

    def add_post(self, path: str, handler: Handler) -> None:
        """Register a handler of POST."""
        self._router.add_post(path, self._admitted(handler))

    def add_delete(self, path: str, handler: Handler) -> None:
        """Register a handler of DELETE."""
        self._router.add_delete(path, self._admitted(handler))

    def refuse_others(self) -> None:
        """Register the answer to all other requests. Call it last."""
        served = list(self._router.resources())

        async def refuse(request: web.Request) -> web.StreamResponse:
            """Refuse a method that the path does not serve, or an unknown path."""
            allowed: set[str] = set()
            for resource in served:
                allowed |= (await resource.resolve(request))[1]
            if allowed:
                raise web.HTTPMethodNotAllowed(request.method, allowed)
            raise web.HTTPNotFound

        self._router.add_route("*", "/{path:(?s:.*)}", self._admitted(refuse))

    def _admitted(self, handler: Handler) -> Handler:
        return partial(self._answer, handler=handler)


__all__ = ["Handler", "Routing"]
