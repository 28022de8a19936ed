"""Imports go down only. The lists here are the house: a new module takes its place in one of them."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trunkline

ROOT = Path(trunkline.__file__).parent
PURE = (
    "errors",
    "plain_json",
    "response",
    "events",
    "items",
    "history",
    "request",
    "baselines",
    "lane",
    "lanes",
    "placement",
    "recovery",
    "sequence",
    "deadlines",
    "breaker",
    "retention",
)
IO = (
    "metrics",
    "wirelog",
    "endpoint",
    "retry_after",
    "wakeups",
    "frames",
    "dialing",
    "websocket",
    "http",
    "connection",
    "pool",
)
LOOPS = {"asyncio", "concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading"}
WIRES = {"http", "httpx2", "picows", "select", "selectors", "socket", "ssl", "urllib"}
NOT_PURE = {*LOOPS, *WIRES, "importlib", "os", "random", "secrets", "sys", "time", "uuid"}
CORE_DEPENDENCIES = {"picows", "msgspec", "httpx2"}


def modules() -> list[str]:
    """The modules of the package, named from the package on; the package itself is the empty name."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(ROOT.rglob("*.py"))]
    return [name.removesuffix("__init__").removesuffix(".") for name in names]


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, also in functions and for type checkers alone, by absolute names."""
    path = path_of(module)
    parts = ["trunkline", *(module.split(".") if module else [])]
    package = parts if path.name == "__init__.py" else parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            found |= {named(source, name.name) for name in node.names}
    return frozenset(found)


def named(source: str, name: str) -> str:
    """``from . import errors`` imports a module; ``from .errors import TurnError`` a name of one."""
    inside = f"{source}.{name}".removeprefix("trunkline.")
    is_module = source.partition(".")[0] == "trunkline" and path_of(inside).exists()
    return f"{source}.{name}" if is_module else source


def inner(module: str) -> set[str]:
    """The modules of trunkline that a module imports, named from the package on."""
    return {
        name.removeprefix("trunkline").removeprefix(".")
        for name in imports(module)
        if name.partition(".")[0] == "trunkline"
    }


def outer(module: str) -> set[str]:
    """The packages of others that a module imports."""
    return {name.partition(".")[0] for name in imports(module)} - {"trunkline", "__future__"}


def layer(module: str) -> int:
    return 0 if module in PURE else 1 if module in IO else 2


def part_of(module: str) -> str:
    return module.partition(".")[0]


LIBRARY = [name for name in modules() if part_of(name) not in ("emulator", "cli")]


def test_the_imports_of_this_very_package_are_seen() -> None:
    assert "events" in inner("lanes")
    assert "errors" in inner("events")
    assert "msgspec" in outer("events")
    assert set(PURE) <= set(LIBRARY)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_no_loop_no_io_no_clock_and_no_chance(module: str) -> None:
    assert not outer(module) & NOT_PURE
    assert outer(module) <= {*sys.stdlib_module_names, "msgspec"}


@pytest.mark.parametrize("module", [name for name in LIBRARY if name])
def test_imports_go_down_only(module: str) -> None:
    above = {other for other in inner(module) if layer(other) > layer(module)}
    assert not above, f"{module} imports {above} from a layer above its own"
    assert "" not in inner(module), f"{module} imports the package that imports it"


def test_pure_modules_import_what_stands_before_them() -> None:
    for position, module in enumerate(PURE):
        assert inner(module) <= set(PURE[:position]), module


def test_no_module_imports_itself_by_a_detour() -> None:
    TopologicalSorter({name: inner(name) - {name} for name in LIBRARY}).prepare()


def test_the_emulator_imports_nothing_of_the_client() -> None:
    emulator = [name for name in modules() if part_of(name) == "emulator"]
    assert emulator
    for module in emulator:
        assert {name for name in inner(module) if part_of(name) != "emulator"} == set(), module


def test_only_the_command_line_imports_the_emulator() -> None:
    for module in LIBRARY:
        assert not {name for name in inner(module) if part_of(name) in ("emulator", "cli")}, module


def test_the_library_needs_its_three_dependencies_and_no_extra() -> None:
    extras = {"opentelemetry"}
    for module in LIBRARY:
        assert outer(module) <= {*sys.stdlib_module_names, *CORE_DEPENDENCIES, *extras}, module
