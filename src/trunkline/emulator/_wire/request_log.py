"""Record of HTTP requests, with a notice to the observers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from .._protocol.errors import ApiError
from .._protocol.request import decode
from .._service.records import RequestRecord
from .backend import Backend
from .headers import ORGANIZATION


class RequestLog:
    """Records each HTTP request with its answer or refusal."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def answered(
        self, kind: str, request: web.Request, answer: Callable[[dict[str, Any], RequestRecord], Any]
    ) -> Any:
        """Read the JSON body of a request, answer it, record it and notify the observers.

        Raises:
            ApiError: the body is not a JSON object, or `answer` refuses it.
        """
        raw = await request.read()
        return self.noted(kind, request, raw, lambda seen: self._of_body(raw, seen, answer))

    def noted(
        self, kind: str, request: web.Request, raw: bytes, answer: Callable[[RequestRecord], Any]
    ) -> Any:
        """Answer a request, record it and notify the observers.

        Raises:
            ApiError: `answer` refuses it.
        """
        seen = RequestRecord(kind, None, len(raw), "http")
        seen.organization = request.headers.get(ORGANIZATION)
        self._backend.service.received(seen)
        try:
            return answer(seen)
        except ApiError as error:
            self._backend.service.refused(seen, error)
            raise
        finally:
            self._backend.notify(seen)

    def _of_body(
        self, raw: bytes, seen: RequestRecord, answer: Callable[[dict[str, Any], RequestRecord], Any]
    ) -> Any:
        seen.body = decode(raw)
        return answer(seen.body, seen)
