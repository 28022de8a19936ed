"""Failed calls of tools: a log record for the developer, and an error result for the model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from ..surrogates import mended
from ..tracebacks import of_application

logger: logging.Logger = logging.getLogger("trunkline.tools")


@dataclass(frozen=True)
class ToolFailure:
    """A call without a result: the tool raised, timed out, or returned something that is not JSON.

    Arguments that do not fit the signature are not a failure of the tool: the model gets an error that names
    the wrong argument.

    Attributes:
        tool: the tool's name.
        error: the exception; a ``TimeoutError`` made by trunkline if the call timed out.
        text: the default result for the model. It contains no message of an exception of the application.
    """

    tool: str
    error: BaseException = field(repr=False)  # its message is the application's
    text: str = field(repr=False)


OnToolError: TypeAlias = Callable[[ToolFailure], str]
"""A function that returns the text of the model's result for a failed call."""


def report(failure: ToolFailure, on_error: OnToolError | None) -> str:
    """Log a failure with its traceback, and return the result for the model."""
    logger.error("the tool %s failed", failure.tool, exc_info=of_application(failure.error))
    if on_error is None:
        return failure.text
    try:
        text = on_error(failure)
        if not isinstance(text, str):
            raise TypeError(f"on_error returned a {type(text).__name__}: return a str")
    except Exception:
        logger.exception("on_error failed for the tool %s; the model gets the default text", failure.tool)
        return failure.text
    return mended(text)


def error_text(message: str) -> str:
    """An error as the text of a result."""
    return msgspec.json.encode({"error": mended(message)}).decode()
