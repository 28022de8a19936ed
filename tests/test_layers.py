"""Imports go down only, and never in a circle. A new module takes its place in one of the lists here.

An import counts wherever it is: in a function and under ``TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trunkline

ROOT = Path(trunkline.__file__).parent
PURE = (
    "errors",
    "arguments",
    "plain_json",
    "quiet",
    "_protocol.item_types",
    "response",
    "_protocol.events",
    "_protocol.decoding",
    "events",
    "items",
    "history",
    "request",
    "_protocol.failure",
    "_protocol.refusals",
    "_protocol.ordering",
    "_protocol.steers",
    "_protocol.reception",
    "_protocol.sink",
    "_protocol.lane",
    "_protocol.lanes",
    "baselines",
    "_decisions.placement",
    "_decisions.request",
    "deadlines",
    "recovery",
    "limits",
    "breaker",
    "retention",
)
IO = (
    "background",
    "_observe.metrics",
    "_observe.hooks",
    "_observe.wirelog",
    "endpoint",
    "retry_after",
    "credentials",
    "wakeups",
    "frames",
    "dialing",
    "websocket",
    "_network.world",
    "dialler",
    "_network.connection",
    "_network.exchange",
    "_network.http",
    "_network.pool",
    "lifetime",
    "_network.transports",
)
EMULATOR = (
    "",
    "pytest_plugin",
    "emulator",
    "fake_network",
    "_wire",
    "faults",
    "_service",
    "_models",
    "_protocol",
    "loop_thread",
    "gate",
    "pace",
    "testing",
)
"""The emulator's files and folders; each may import those that follow it. "" is the package's own file."""
EMULATOR_MAY_USE = {"errors", "events", "_network.world"}
"""What the emulator may import from the library: errors, events, the interfaces of its fake network,
and no logic.

The emulator judges the library, so that it must not share the library's mistakes.
"""
CLI = ("", "app", "chat", "demo", "doctor", "emulate", "contexts", "loop_thread", "terminal")
"""The command line's files and folders; each may import those that follow it, and all of the library."""
PUBLIC = {"trunkline", "trunkline.emulator", "trunkline.errors", "trunkline.events"}
LOOPS = {"asyncio", "concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading"}
WIRES = {"http", "httpx2", "picows", "select", "selectors", "socket", "ssl", "urllib"}
NOT_PURE = {*LOOPS, *WIRES, "importlib", "os", "random", "secrets", "sys", "time", "uuid"}
CORE_DEPENDENCIES = {"picows", "msgspec", "httpx2"}


@dataclass(frozen=True)
class Package:
    """The source files of a package and their imports. Modules are named from the package on."""

    name: str
    root: Path

    def modules(self) -> list[str]:
        """All modules; the package itself has the empty name."""
        files = sorted(self.root.rglob("*.py"))
        names = [".".join(path.relative_to(self.root).with_suffix("").parts) for path in files]
        return [name.removesuffix("__init__").removesuffix(".") for name in names]

    def path_of(self, module: str) -> Path:
        path = self.root.joinpath(*module.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def inner(self, module: str) -> set[str]:
        """The modules of this package that a module imports."""
        return {
            name.removeprefix(self.name).removeprefix(".")
            for name in self.imports(module)
            if self._contains(name)
        }

    def outer(self, module: str) -> set[str]:
        """The top-level packages of others that a module imports."""
        others = [name for name in self.imports(module) if not self._contains(name)]
        return {name.partition(".")[0] for name in others} - {"__future__"}

    @cache  # noqa: B019 - the two packages below live as long as the process
    def imports(self, module: str) -> frozenset[str]:
        """The absolute names of all that a module imports."""
        path = self.path_of(module)
        parts = [*self.name.split("."), *(module.split(".") if module else [])]
        package = parts if path.name == "__init__.py" else parts[:-1]
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*base, node.module] if node.module else base)
                found |= {self._named(source, name.name) for name in node.names}
        return frozenset(found)

    def _named(self, source: str, name: str) -> str:
        """``from . import errors`` imports a module; ``from .errors import TurnError`` a name of one."""
        inside = f"{source}.{name}".removeprefix(f"{self.name}.")
        is_module = self._contains(source) and self.path_of(inside).exists()
        return f"{source}.{name}" if is_module else source

    def _contains(self, name: str) -> bool:
        return name == self.name or name.startswith(f"{self.name}.")


TRUNKLINE = Package("trunkline", ROOT)
PLUGIN = Package(
    "livekit.plugins.trunkline",
    Path(__file__).parents[1] / "livekit-plugins-trunkline" / "livekit" / "plugins" / "trunkline",
)
modules, inner, outer = TRUNKLINE.modules, TRUNKLINE.inner, TRUNKLINE.outer


def layer(module: str) -> int:
    return 0 if module in PURE else 1 if module in IO else 2


def part_of(module: str) -> str:
    return module.partition(".")[0]


def place_of(module: str) -> str:
    """The file or folder of a part in which a module of it lies: ``_wire`` for ``emulator._wire.server``."""
    return module.split(".")[1] if "." in module else ""


LIBRARY = [name for name in modules() if part_of(name) not in ("emulator", "cli")]
STACKS = {"emulator": EMULATOR, "cli": CLI}
STACKED = [name for name in modules() if part_of(name) in STACKS]


def test_the_imports_of_this_very_package_are_seen() -> None:
    assert "_protocol.events" in inner("_protocol.lanes")
    assert "errors" in inner("_protocol.decoding")
    assert "msgspec" in outer("_protocol.events")
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


@pytest.mark.parametrize("package", [TRUNKLINE, PLUGIN], ids=lambda package: package.name)
def test_there_is_no_import_cycle(package: Package) -> None:
    names = package.modules()
    assert len(names) > 5
    TopologicalSorter({name: package.inner(name) - {name} for name in names}).prepare()


@pytest.mark.parametrize("module", STACKED)
def test_emulator_and_command_line_import_what_follows_in_their_list(module: str) -> None:
    order = STACKS[part_of(module)]
    assert place_of(module) in order, f"{module} has no place in the list of its package"
    own = {other for other in inner(module) if part_of(other) == part_of(module)}
    above = {other for other in own if order.index(place_of(other)) < order.index(place_of(module))}
    assert not above, f"{module} imports {above} from above its own place"


def test_the_lists_name_what_exists() -> None:
    for part, order in STACKS.items():
        assert {place_of(module) for module in STACKED if part_of(module) == part} == set(order)


def test_the_emulator_imports_no_logic_of_the_library() -> None:
    for module in STACKED:
        if part_of(module) == "emulator":
            used = {name for name in inner(module) if part_of(name) != "emulator"}
            assert used <= EMULATOR_MAY_USE, module


def test_the_plugin_imports_public_names_only() -> None:
    for module in PLUGIN.modules():
        used = {name for name in PLUGIN.imports(module) if part_of(name) == "trunkline"}
        assert used <= PUBLIC, module


def test_only_the_command_line_imports_the_emulator() -> None:
    for module in LIBRARY:
        assert not {name for name in inner(module) if part_of(name) in ("emulator", "cli")}, module


def test_the_library_needs_its_three_dependencies_and_no_extra() -> None:
    extras = {"opentelemetry"}
    for module in LIBRARY:
        assert outer(module) <= {*sys.stdlib_module_names, *CORE_DEPENDENCIES, *extras}, module
