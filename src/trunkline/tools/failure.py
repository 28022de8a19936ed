"""What becomes of a failed call: a record in the log for the developer, and an error result for the model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from .result import encodable

logger: logging.Logger = logging.getLogger("trunkline.tools")


@dataclass(frozen=True)
class ToolFailure:
    """A call without a result: the tool raised, timed out, or returned something that is not JSON.

    Arguments that do not fit the signature are no failure of the tool. The model is told what is wrong with
    them.

    Attributes:
        tool: the tool's name.
        error: the exception; a ``TimeoutError`` of trunkline's own if the call took too long.
        text: the result that the model gets by default. It contains no message of an exception of yours.
    """

    tool: str
    error: BaseException = field(repr=False)  # its message is the application's
    text: str = field(repr=False)


OnToolError: TypeAlias = Callable[[ToolFailure], str]
"""Returns the text that the model gets as the result of a failed call."""


def report(failure: ToolFailure, on_error: OnToolError | None) -> str:
    """Log a failure with its traceback, and return the result for the model."""
    logger.error("the tool %s failed", failure.tool, exc_info=failure.error)
    if on_error is None:
        return failure.text
    try:
        text = on_error(failure)
        if not isinstance(text, str):
            raise TypeError(f"on_error returned a {type(text).__name__}: return a str")
    except Exception:
        logger.exception("on_error failed for the tool %s; the model gets the default text", failure.tool)
        return failure.text
    return encodable(text)


def error_text(message: str) -> str:
    """An error as the result of a call."""
    return msgspec.json.encode({"error": encodable(message)}).decode()
