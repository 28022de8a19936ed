"""Errors with the service's messages and codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An error to answer a request with.

    It is sent as an HTTP answer (``{"error": …}`` with ``status``) or as an ``error`` event on a socket.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",  # noqa: A002 - the field's name on the wire
        headers: Mapping[str, str] | None = None,
        is_typed: bool = True,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.type = type
        self.headers: dict[str, str] = dict(headers or {})
        self.is_typed = is_typed
        """Whether its event on a socket has a ``type``; some servers send only the error."""

    def body(self) -> dict[str, Any]:
        """The value of ``error`` in an HTTP answer or event."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


def type_of_status(status: int) -> str:
    """The default ``error.type`` for an HTTP status."""
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def previous_response_not_found(response_id: str) -> ApiError:
    """The parent is neither cached nor stored."""
    return ApiError(
        f"Previous response with id '{response_id}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def response_not_found(response_id: str) -> ApiError:
    """The response named by an HTTP request is not stored."""
    return ApiError(f"Response with id '{response_id}' not found.", status=404)


def item_not_found(item_id: str, param: str = "input", *, unstored: bool = True) -> ApiError:
    """An input item references an item that is not stored."""
    message = f"Item with id '{item_id}' not found."
    if unstored:
        message += (
            " Items are not persisted when `store` is set to false."
            " Try again with `store` set to true, or remove this item from your input."
        )
    return ApiError(message, status=404, param=param)


def output_missing(call_id: str) -> ApiError:
    """A tool call in the context has no output."""
    return ApiError(f"No tool output found for function call {call_id}.", param="input")


def call_missing(call_id: str) -> ApiError:
    """A tool output matches no call of the context."""
    return ApiError(f"No tool call found for function call output with call_id {call_id}.", param="input")


def connection_limit_reached() -> ApiError:
    """The connection has reached its maximum age of an hour."""
    return ApiError(
        "Responses websocket connection limit reached (60 minutes)."
        " Create a new websocket connection to continue.",
        code="websocket_connection_limit_reached",
    )


def stream_limit_reached(limit: int) -> ApiError:
    """A new lane would exceed the limit of distinct names of a connection."""
    return ApiError(
        f"Responses websocket stream limit reached ({limit} distinct stream_id values per connection).",
        code="websocket_stream_limit_reached",
        param="stream_id",
    )


def invalid_stream_id() -> ApiError:
    """A lane's name is invalid."""
    return ApiError(
        "Invalid 'stream_id': expected 1 to 256 characters of letters, digits, '_', '-' or '.'.",
        code="invalid_stream_id",
        param="stream_id",
    )


def context_length_exceeded() -> ApiError:
    """The input exceeds the model's window and truncation is disabled."""
    return ApiError(
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        code="context_length_exceeded",
        param="input",
    )
