"""Objects of the package's classes, built from type hints, so that tests cover future classes as well."""

from __future__ import annotations

import collections.abc as abc
import importlib
import inspect
import pkgutil
import types
import typing
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar
from unittest.mock import MagicMock

import msgspec

import trunkline

_SCALARS: dict[Any, Any] = {int: 7, float: 1.5, bool: True, type(None): None}
_ANYTHING = (Any, object, str, abc.Hashable)
_CONTAINERS = ("builtins", "collections", "collections.abc")

T = TypeVar("T")


@cache
def classes() -> tuple[type, ...]:
    """Every class that a module of the package defines at its top level, private ones included."""
    names = ["trunkline", *(found.name for found in pkgutil.walk_packages(trunkline.__path__, "trunkline."))]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    members = [(module, value) for module in modules for value in vars(module).values()]
    return tuple(
        {
            value: None
            for module, value in members
            if inspect.isclass(value) and value.__module__ == module.__name__
        }
    )


def canary(name: str) -> str:
    """A string that comes from the parameter of this name and from nowhere else."""
    return f"canary!{name}!"


class Builder:
    """Builds objects. Strings and bytes are canaries named ``Class.parameter``; URLs have one in their query.

    Args:
        ready: functions that make the objects of classes whose constructors demand more than their hints say.
    """

    def __init__(self, ready: abc.Mapping[type, abc.Callable[[], Any]] | None = None) -> None:
        self._ready = ready or {}
        self._names = {cls.__name__: cls for cls in classes()} | {"Raw": msgspec.Raw}
        self._running: list[type] = []

    def build(self, cls: type[T]) -> T:
        """An object with a value for every parameter of its constructor, optional ones included."""
        if cls in self._ready:
            made: T = self._ready[cls]()
            return made
        self._running.append(cls)
        try:
            return cls(**self.arguments(cls))
        finally:
            self._running.pop()

    def arguments(self, cls: type) -> dict[str, Any]:
        """A value for each parameter. ``**facts`` stands for the keyword arguments of the class above."""
        hints = self._hints(cls)
        made: dict[str, Any] = {}
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                made = {**self.arguments(cls.__mro__[1]), **made}
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                made[name] = self.value(hints.get(name, Any), f"{cls.__name__}.{name}")
        return made

    def _hints(self, cls: type) -> dict[str, Any]:
        # The fields of structs and dataclasses are annotated in the class, other parameters in `__init__`.
        found: dict[str, Any] = {}
        for part in (*reversed(cls.__mro__), cls.__dict__.get("__init__", cls.__init__)):  # type: ignore[misc]
            module = importlib.import_module(part.__module__ if hasattr(part, "__module__") else "builtins")
            if getattr(part, "__annotations__", None):
                # Names imported for type checkers alone are looked up among the classes of the package.
                known = {**vars(typing), **self._names, **vars(module)}  # base classes may be elsewhere
                found |= typing.get_type_hints(part, known)
        return found

    def value(self, hint: Any, name: str) -> Any:
        """A value of this type."""
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if hint in _ANYTHING or isinstance(hint, TypeVar):
            is_url = name.endswith(("url", "proxy"))
            return f"https://example.test/v1?{canary(name)}" if is_url else canary(name)
        if origin in (typing.Union, types.UnionType):
            possible = [arg for arg in args if arg is not type(None) and arg not in self._running]
            return self.value(possible[0], name) if possible else None
        if origin is Literal:
            return args[0]
        if origin is typing.Annotated:
            return self.value(args[0], name)
        return self._of_class(origin or hint, args, name)

    def _of_class(self, cls: Any, args: tuple[Any, ...], name: str) -> Any:
        if cls in _SCALARS:
            return _SCALARS[cls]
        if cls is bytes:
            return canary(name).encode()
        if cls is msgspec.Raw:
            return msgspec.Raw(b'{"text":"%b"}' % canary(name).encode())
        if cls is abc.Callable:
            return lambda *_: None
        if cls is tuple:
            return tuple(self.value(arg, name) for arg in args if arg is not ...)
        if cls.__module__ in _CONTAINERS and issubclass(cls, abc.Iterable):
            return self._container(cls, args or (Any, Any), name)
        if cls not in classes() or getattr(cls, "_is_protocol", False):
            return MagicMock(spec=cls)  # its `repr` is not part of the package
        return next(iter(cls)) if issubclass(cls, Enum) else self.build(cls)

    def _container(self, cls: Any, args: tuple[Any, ...], name: str) -> Any:
        if any(arg in self._running for arg in args):  # of the class that is being built
            return () if inspect.isabstract(cls) else cls()
        filled: Any = [self.value(args[0], name)]
        if issubclass(cls, abc.Mapping):
            filled = {
                filled[0]: self.value(args[1] if len(args) > 1 else int, name)
            }  # a Counter has one type argument
        return filled if inspect.isabstract(cls) else cls(filled)
