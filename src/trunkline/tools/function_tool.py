"""A Python function as a tool: its definition for the model, and its calls.

The schema is made from the signature, and the model's arguments are validated before the function is called.
A failed call has an error as its result, to which the model can react.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..arguments import check_flag, check_function, check_number
from ..errors import ConfigurationError
from .failure import OnToolError, ToolFailure, error_text, logger, report
from .result import result_text
from .signature import Signature, layers
from .threads import ToolThreads, ToolThreadsFull

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SETTINGS = "__trunkline_tool__"
_MADE = "__trunkline_function_tool__"


class _TookTooLong(TimeoutError):
    """The time limit of the call expired, not a time limit inside the tool."""


F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, repr=False)
class _Settings:
    timeout_s: float | None = None
    name: str | None = None
    description: str | None = None
    on_error: OnToolError | None = None
    strict: bool = False


def tool(
    *,
    timeout_s: float | None = None,
    name: str | None = None,
    description: str | None = None,
    on_error: OnToolError | None = None,
    strict: bool = False,
) -> Callable[[F], F]:
    """Decorator: settings of a function for its use as a tool. The function itself is not changed.

    Args:
        timeout_s: the time limit of one call, in seconds, instead of the limit of ``run``.
        name: the name of the tool. Default: the function's name.
        description: the description of the tool. Default: the docstring without its section on parameters.
        on_error: a function that returns the model's result for a failed call, instead of that of ``run``.
            By default the result names the type of the exception, without its message.
        strict: the service enforces the schema (``strict: true``). Every parameter becomes required, and
            null means the function's default.

    Raises:
        ConfigurationError: an argument is wrong, or the function cannot have settings: bound methods and
            built-in functions.
    """
    check_number(timeout_s, "timeout_s", above=0, none_means="use the time-out of run()")
    check_flag(strict, "strict")
    check_function(on_error, "on_error", "give a function of a ToolFailure", may_be_async=False)

    def decorate(function: F) -> F:
        try:
            setattr(function, _SETTINGS, _Settings(timeout_s, name, description, on_error, strict))
        except AttributeError:
            shown = getattr(function, "__qualname__", type(function).__qualname__)  # a repr may show values
            raise ConfigurationError(
                f"{shown} cannot be decorated; decorate the function in its class, or wrap it in a function"
            ) from None
        return function

    return decorate


@dataclass(frozen=True, eq=False)
class FunctionTool:
    """A Python function that the model can call. Made by ``of``.

    Attributes:
        name: the name of the tool.
        definition: the tool as the Responses API documents it.
        timeout_s: the time limit of one call, in seconds; ``None`` for that of the caller.
    """

    name: str
    definition: dict[str, Any]
    timeout_s: float | None
    _function: Callable[..., Any]
    _signature: Signature
    _settings: _Settings
    _threads: ToolThreads = field(default_factory=ToolThreads)

    @classmethod
    def of(cls, function: Callable[..., Any], *, timeout_s: float | None = None) -> FunctionTool:
        """The tool of a function.

        The types of parameters can be all that msgspec supports, and pydantic models. A parameter without an
        annotation accepts any JSON. The description of a parameter comes from ``Annotated[str, "…"]``, from
        an object there with a ``description`` (pydantic's ``Field``, ``msgspec.Meta``), or from the
        docstring. The rest of the docstring describes the tool. Parameters that a ``functools.partial`` has
        bound are hidden from the model.

        Args:
            function: a function, a bound method, a ``functools.partial``, or an object with ``__call__``.
            timeout_s: the time limit of one call, in seconds, instead of that of the decorator ``tool``.

        Raises:
            ConfigurationError: the function cannot be a tool; the message has the reason and the remedy.
        """
        settings = _settings_of(function)
        signature = Signature.of(function, strict=settings.strict)
        name = settings.name or signature.name
        if name is None or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name or 'a lambda'} is not a valid tool name; set one with trunkline.tool(name=…), "
                "of up to 64 letters, digits, - and _"
            )
        definition: dict[str, Any] = {"type": "function", "name": name}
        if description := settings.description or signature.description:
            definition["description"] = description
        definition |= {"parameters": signature.parameters, "strict": settings.strict}
        if timeout_s is None:
            timeout_s = settings.timeout_s
        return cls(name, definition, timeout_s, function, signature, settings)

    @classmethod
    def shared(cls, function: Callable[..., Any]) -> FunctionTool:
        """The tool of a plain function, made once for all conversations that use it.

        The tool is an attribute of the function, so that both are freed together. It is made again for a
        wrapper, to which ``functools.wraps`` copied the attribute, and after a change of the settings.
        """
        made: FunctionTool | None = getattr(function, _MADE, None)
        if made is None or made._function is not function or made._settings != _settings_of(function):
            made = cls.of(function)
            setattr(function, _MADE, made)
        return made

    async def call(
        self,
        arguments: str,
        *,
        timeout_s: float,
        on_error: OnToolError | None = None,
        threads: ToolThreads | None = None,
    ) -> str:
        """Call the function with the model's arguments, and return the text for ``function_call_output``.

        Async functions are awaited; other functions run in a thread. Both have the caller's context
        variables. A string is returned unchanged, any other result as JSON.

        Arguments that do not fit the signature give ``{"error": "…"}``, which names the wrong argument. A
        failed call gives ``{"error": "get_weather failed: LookupError"}``, without the message of the
        exception; the logger ``trunkline.tools`` gets the traceback. A call fails if the function raises,
        times out, or returns a value that JSON cannot represent.

        Cancelling cancels an async function. A thread cannot be stopped: it runs on, and its result is
        dropped, also after a time-out.

        Args:
            arguments: a JSON object; an empty string counts as an empty object.
            timeout_s: the time limit, in seconds, if the tool has no limit of its own.
            on_error: a function that returns the text for a failed call, if the tool has no ``on_error``.
            threads: the threads for synchronous functions. Default: threads of this tool.
        """
        on_error = self._settings.on_error or on_error
        try:
            given = self._signature.keywords(arguments)
        except ValueError as error:
            # Not a fault of the tool. The message may quote the arguments, so that only the model gets it.
            logger.info("the model called %s with arguments that do not fit", self.name)
            return error_text(_with_type(error))
        except Exception as error:  # from a constructor or validator of a parameter's type
            return self._failed(error, on_error)
        try:
            result = await self._run(given, timeout_s, threads or self._threads)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            return self._failed(error, on_error)  # a future that the tool awaited was cancelled, not the call
        except ToolThreadsFull as error:
            return self._failed(error, on_error, _with_type(error))
        except _TookTooLong as error:
            return self._failed(error, on_error, f"TimeoutError: {error}")
        except Exception as error:
            if not _has_loop():
                raise
            return self._failed(error, on_error)
        try:
            return result_text(result)
        except Exception as error:
            kind = type(result).__name__
            unfit = TypeError(f"the result of {self.name}, of the type {kind}, cannot be written as JSON")
            unfit.__cause__ = error  # without the frames that hold the result: see `report`
            return self._failed(unfit, on_error, _with_type(unfit))

    async def _run(self, given: dict[str, Any], timeout_s: float, threads: ToolThreads) -> Any:
        if not self._signature.is_async:
            await threads.room(self.name)
        limit_s = self.timeout_s if self.timeout_s is not None else timeout_s
        limit = asyncio.timeout(limit_s)  # starts when the call has a thread
        try:
            async with limit:
                if self._signature.is_async:
                    return await self._function(**given)
                result = await threads.run(self.name, self._function, given)
                return await result if inspect.isawaitable(result) else result
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise _TookTooLong(f"{self.name} took longer than {limit_s:g} s") from error

    def _failed(self, error: BaseException, on_error: OnToolError | None, message: str | None = None) -> str:
        text = error_text(message or f"{self.name} failed: {type(error).__name__}")
        return report(ToolFailure(self.name, error, text), on_error)

    def __repr__(self) -> str:
        return f"<FunctionTool {self.name}>"


def _settings_of(function: Callable[..., Any]) -> _Settings:
    return next(filter(None, (getattr(layer, _SETTINGS, None) for layer in layers(function))), _Settings())


def _has_loop() -> bool:
    """Whether an event loop runs. If it was closed during a call, no model gets the error of the clean-up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_cancelled() -> bool:
    if not _has_loop():
        return True
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _with_type(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
