"""Observing objects from outside: the memory that they keep, and the objects that they refer to."""

from __future__ import annotations

import gc
import tracemalloc
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

_THROUGH: Final = (
    dict,
    list,
    tuple,
    set,
    frozenset,
    deque,
    types.MethodType,
    types.FunctionType,
    types.CellType,
)


def kept_bytes(make: Callable[[], Any]) -> int:
    """Bytes that stay allocated while the made object lives."""
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return kept


def parts_of(root: Any) -> Iterator[Any]:
    """The object, and every object of trunkline's classes that is reached from it."""
    known = {id(root)}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        is_part = type(each).__module__.split(".")[0] == "trunkline"
        if is_part:
            yield each
        for part in gc.get_referents(each) if is_part or isinstance(each, _THROUGH) else ():
            if id(part) not in known and not isinstance(part, type | types.ModuleType):
                known.add(id(part))
                waiting.append(part)
