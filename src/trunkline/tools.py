"""Python functions as tools: the definition that the model sees, and the call that it asks for.

The signature is the schema, and the model's arguments are held against it before the function is called.
Whatever goes wrong in a call becomes an error result, which the model reads and can act upon.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias, TypeVar, Union

import msgspec

from .errors import ConfigurationError
from .signature import Signature, layers

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SETTINGS = "__trunkline_tool__"
_MADE = "__trunkline_function_tool__"

F = TypeVar("F", bound=Callable[..., Any])


class _Settings(NamedTuple):
    timeout_s: float | None = None
    name: str | None = None
    description: str | None = None


def tool(
    *, timeout_s: float | None = None, name: str | None = None, description: str | None = None
) -> Callable[[F], F]:
    """A decorator with settings for a function that is used as a tool. The function stays what it is.

    Args:
        timeout_s: how long one call may take, in seconds, whatever ``run`` allows.
        name: what the model calls it by; by default the function's name.
        description: by default the function's docstring.

    Raises:
        ConfigurationError: the function takes no settings, as methods of an instance and built-in ones.
    """

    def decorate(function: F) -> F:
        try:
            setattr(function, _SETTINGS, _Settings(timeout_s, name, description))
        except AttributeError:
            raise ConfigurationError(
                f"{function!r} cannot be decorated: decorate the function in its class, or wrap it in one"
            ) from None
        return function

    return decorate


@dataclass(frozen=True, eq=False)
class FunctionTool:
    """A Python function that the model can call. Made by ``of``.

    Attributes:
        name: what the model calls it by.
        definition: the tool as the Responses API documents it.
        timeout_s: how long one call may take, in seconds; ``None`` leaves it to the caller.
    """

    name: str
    definition: dict[str, Any]
    timeout_s: float | None
    _function: Callable[..., Any]
    _signature: Signature
    _settings: _Settings

    @classmethod
    def of(cls, function: Callable[..., Any], *, timeout_s: float | None = None) -> FunctionTool:
        """The tool that a function is.

        Parameters may have any type that msgspec knows; ``Annotated[str, msgspec.Meta(description="…")]``
        describes one, and the docstring the whole. Without an annotation a parameter takes anything. What a
        ``functools.partial`` has bound is not shown to the model.

        Args:
            function: a function, a bound method, a ``functools.partial``, or an object with ``__call__``.
            timeout_s: goes before the one given to the decorator ``tool``.

        Raises:
            ConfigurationError: the function cannot be a tool; the message says why, and what to do.
        """
        signature = Signature.of(function)
        settings = _settings_of(function)
        name = settings.name or signature.name
        if name is None or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name or 'a lambda'} is no name for a tool: give one with trunkline.tool(name=…), "
                "of at most 64 letters, digits, - and _"
            )
        definition: dict[str, Any] = {"type": "function", "name": name}
        if description := settings.description or signature.description:
            definition["description"] = description
        definition |= {"parameters": signature.parameters, "strict": False}
        if timeout_s is None:
            timeout_s = settings.timeout_s
        return cls(name, definition, timeout_s, function, signature, settings)

    def is_of(self, function: Callable[..., Any]) -> bool:
        """Whether it is the tool that `of` would make of this function now."""
        return self._function is function and self._settings == _settings_of(function)

    async def call(self, arguments: str, *, timeout_s: float) -> str:
        """Call the function with the model's arguments, and return the text for ``function_call_output``.

        Async functions are awaited, others run in a thread, both with the caller's context variables. A
        string is returned as it is, anything else as JSON. Arguments that do not fit, an exception, a result
        that is no JSON and a call that takes too long give ``{"error": "TypeName: message"}``.

        Args:
            arguments: a JSON object; nothing at all counts as an empty one.
            timeout_s: how long it may take, in seconds, unless the tool has a time of its own. A thread
                cannot be stopped: it is left, and its result is dropped.

        Cancelling cancels an async function, and leaves a thread.
        """
        limit_s = self.timeout_s if self.timeout_s is not None else timeout_s
        limit = asyncio.timeout(limit_s)
        try:
            given = self._signature.keywords(arguments)
            async with limit:
                result = await self._call(given)
            return _text(result, self.name)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            return _error(error)  # something that the tool waited for was cancelled, not the tool
        except TimeoutError as error:
            late = TimeoutError(f"{self.name} took longer than {limit_s:g} s")
            return _error(late if limit.expired() else error)
        except Exception as error:
            return _error(error)

    async def _call(self, given: dict[str, Any]) -> Any:
        if self._signature.is_async:
            return await self._function(**given)
        result, error = await asyncio.to_thread(_outcome, self._function, given)
        if error is not None:
            raise error
        return await result if inspect.isawaitable(result) else result

    def __repr__(self) -> str:
        return f"<FunctionTool {self.name}>"


def _settings_of(function: Callable[..., Any]) -> _Settings:
    return next(filter(None, (getattr(layer, _SETTINGS, None) for layer in layers(function))), _Settings())


def _outcome(function: Callable[..., Any], given: dict[str, Any]) -> tuple[Any, Exception | None]:
    # Exceptions come back as values: a StopIteration could not be raised into the future of the thread.
    try:
        return function(**given), None
    except Exception as error:
        return None, error


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _text(result: Any, name: str) -> str:
    if isinstance(result, str):
        return _encodable(str.__str__(result))
    try:
        return msgspec.json.encode(result).decode()
    except Exception as error:
        kind = type(result).__name__
        raise TypeError(
            f"the result of {name}, of the type {kind}, cannot be written as JSON: {error}"
        ) from error


def _error(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:
        message = ""
    words = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return msgspec.json.encode({"error": _encodable(words)}).decode()


def _encodable(text: str) -> str:
    """Half a surrogate pair cannot be sent; a question mark can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


Tool: TypeAlias = Union[Callable[..., Any], Mapping[str, Any], FunctionTool]  # noqa: UP007 - a name at run time
"""What ``tools=[…]`` may hold: Python functions, definitions as the API documents them, ``FunctionTool``."""


@dataclass(frozen=True, eq=False)
class Toolbox:
    """The tools of a conversation.

    Attributes:
        definitions: all of them for the wire, in order; those given as dicts are untouched.
        names: the names by which functions and custom tools are called.
    """

    definitions: list[dict[str, Any]]
    names: frozenset[str]
    _functions: dict[str, FunctionTool]

    @classmethod
    def of(cls, tools: Sequence[Tool]) -> Toolbox:
        """The toolbox of a list of Python functions and definitions.

        Raises:
            ConfigurationError: one of them cannot be a tool, or two have the same name.
        """
        if isinstance(tools, str) or not isinstance(tools, Sequence):
            raise ConfigurationError(f"tools is a {type(tools).__name__}: give a list", argument="tools")
        definitions: list[dict[str, Any]] = []
        functions: dict[str, FunctionTool] = {}
        names: set[str] = set()
        for index, given in enumerate(tools):
            function = None if isinstance(given, Mapping) else _function_tool(given, index)
            definition = function.definition if function else _checked(given, index)
            definitions.append(definition)
            if definition["type"] not in ("function", "custom"):
                continue
            name = definition["name"]
            if name in names:
                raise _fault(
                    index, f"is named {name!r}, and so is another: rename one, as with trunkline.tool(name=…)"
                )
            names.add(name)
            if function:
                functions[name] = function
        return cls(definitions, frozenset(names), functions)

    def get(self, name: str) -> FunctionTool | None:
        """The Python function of this name, if there is one."""
        return self._functions.get(name)


def _function_tool(given: object, index: int) -> FunctionTool:
    if isinstance(given, FunctionTool):
        return given
    if not callable(given):
        raise _fault(
            index, f"is a {type(given).__name__}: give a function, or a dict as the API documents it"
        )
    return _made_once(given) if isinstance(given, FunctionType) else FunctionTool.of(given)


def _made_once(function: FunctionType) -> FunctionTool:
    """The tool of a function, for all conversations that use it: it is kept with the function.

    A wrapper has the attributes of what it wraps, and settings may have come since.
    """
    made: FunctionTool | None = getattr(function, _MADE, None)
    if made is None or not made.is_of(function):
        made = FunctionTool.of(function)
        setattr(function, _MADE, made)
    return made


def _checked(given: Any, index: int) -> dict[str, Any]:
    kind = given.get("type")
    if not isinstance(kind, str):
        raise _fault(index, 'has no type, such as "function"')
    if kind in ("function", "custom") and not (isinstance(given.get("name"), str) and given["name"]):
        raise _fault(index, f"is of the type {kind!r} and has no name: it belongs beside the type")
    return given if isinstance(given, dict) else dict(given)


def _fault(index: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"tools[{index}] {what}", argument="tools")
