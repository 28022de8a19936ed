"""Tracebacks without local variables of this package.

Error reporters show the local variables of every frame of an exception, of its causes and of its contexts.
Frames of this package, and of the libraries that it calls, hold keys, requests and answers. Exceptions
therefore leave this package without these frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

from .errors import TrunklineError

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

_PACKAGE = __name__.partition(".")[0]
_BETWEEN = frozenset({"asyncio", "pydantic"})


def without_frames(error: E) -> E:
    """The exception without its traceback, nor those of its causes and contexts.

    A note names the place where each was raised. A traceback that begins outside of this package stays, with
    its causes: see `of_application`.
    """
    if error.__traceback__ is not None and not _is_ours(error.__traceback__):
        return error
    for each in _chain(error):
        if each.__traceback__ is not None:
            each.add_note(_place(each.__traceback__))
            each.__traceback__ = None
    return error


def of_application(error: E) -> E:
    """The exception of a function of the application, without the frames of this package that called it.

    Causes and contexts lose these frames too.
    """
    for each in _chain(error):
        trace = each.__traceback__
        while trace is not None and (_is_ours(trace) or _is_between(trace)):
            trace = trace.tb_next
        if trace is None and each.__traceback__ is not None:
            each.add_note(_place(each.__traceback__))
        each.__traceback__ = trace
    return error


def discreet(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: a `TrunklineError` leaves the function without the frames that hold its arguments."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except TrunklineError as error:
            del args, kwargs
            error.__traceback__ = None
            without_frames(error)
            raise error

    return checked


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and the members of groups, once each."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += each.__cause__, each.__context__
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        yield each


def _is_ours(trace: TracebackType) -> bool:
    return _module(trace).partition(".")[0] == _PACKAGE


def _is_between(trace: TracebackType) -> bool:
    """Whether the frame is of a library through which this package calls functions of the application."""
    return _module(trace).partition(".")[0] in _BETWEEN


def _module(trace: TracebackType) -> str:
    name = trace.tb_frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def _place(trace: TracebackType) -> str:
    while trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_code.co_qualname
    return f"raised in {_module(trace)}, {name}, line {trace.tb_lineno}"


__all__ = ["discreet", "of_application", "without_frames"]
