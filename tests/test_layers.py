"""Imports go from higher to lower layers only, without cycles. Each new module belongs in one of the lists.

Imports in functions and under ``TYPE_CHECKING`` count too.
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
FLOORS = (
    "",
    "otel",
    "openai",
    "_face",
    "client",
    "conversation",
    "keyed",
    "saved",
    "run",
    "tool_calls",
    "stream",
    "transcript",
    "instructions",
    "heard",
    "text_format",
    "request_fields",
    "_turns",
    "_network",
    "_observe",
    "_decisions",
    "options",
    "events",
    "_protocol",
    "tools",
    "arguments",
    "surrogates",
    "tracebacks",
    "extras",
    "errors",
)
"""The library's files and folders; each may import those that follow it. "" is the package's own file."""
MAY_USE_TOOLS = {"", "client", "conversation", "run", "tool_calls", "text_format", "request_fields"}
"""Modules that define or execute Python functions as tools; modules that send requests do not."""
PURE = (
    "errors",
    "extras",
    "tracebacks",
    "surrogates",
    "arguments",
    "events",
    "_protocol",
    "options",
    "_decisions",
)
"""Files and folders without event loop, socket, clock or randomness."""
EMULATOR = (
    "",
    "pytest_plugin",
    "emulator",
    "fake_network",
    "_wire",
    "faults",
    "_service",
    "_models",
    "quirks",
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

The emulator checks the library, so it must not share the library's mistakes.
"""
GATEWAY = (
    "",
    "serving",
    "admin",
    "app",
    "measures",
    "sockets",
    "session",
    "responses",
    "streamed",
    "heartbeat",
    "life",
    "forwarding",
    "failures",
    "ledger",
    "caller",
    "leases",
    "allowance",
    "admission",
    "screening",
    "upward",
    "body",
    "compression",
    "asgi",
    "refusal",
    "configuration",
)
"""The gateway's files; each may import those that follow it, and all of the library."""
CLI = (
    "",
    "app",
    "chat",
    "demo",
    "doctor",
    "emulate",
    "serve",
    "contexts",
    "loop_thread",
    "sample_tools",
    "terminal",
    "wrapping",
)
"""The command line's files and folders; each may import those that follow it, and all of the library."""
PUBLIC = {"trunkline", "trunkline.emulator", "trunkline.errors", "trunkline.events"}
LOOPS = {"asyncio", "concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading"}
WIRES = {"http", "httpx2", "picows", "select", "selectors", "socket", "ssl", "urllib"}
NOT_PURE = {*LOOPS, *WIRES, "importlib", "os", "random", "secrets", "sys", "time", "uuid"}
CORE_DEPENDENCIES = {"picows", "msgspec", "httpx2"}
THEIR_DEPENDENCIES = {"python_socks", "httpcore2"}
"""Packages that picows and httpx2 require, without an extra; for HTTP through proxies only."""


@dataclass(frozen=True)
class Package:
    """The source files of a package and their imports. Modules are named from the package on."""

    name: str
    root: Path

    def modules(self) -> list[str]:
        """Names of all modules; the package itself has the empty name."""
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

    @cache  # noqa: B019 - the two packages below are module constants
    def imports(self, module: str) -> frozenset[str]:
        """The absolute names of all imports of a module."""
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


def part_of(module: str) -> str:
    return module.partition(".")[0]


def place_of(module: str) -> str:
    """The file or folder of a part in which a module of it lies: ``_wire`` for ``emulator._wire.server``."""
    return module.split(".")[1] if "." in module else ""


LIBRARY = [name for name in modules() if part_of(name) not in ("emulator", "gateway", "cli", "__main__")]
STACKS = {"emulator": EMULATOR, "gateway": GATEWAY, "cli": CLI}
STACKED = [name for name in modules() if part_of(name) in STACKS]


def test_imports_of_the_package_are_found() -> None:
    assert "_protocol.events" in inner("_protocol.lanes")
    assert "errors" in inner("_protocol.decoding")
    assert "msgspec" in outer("_protocol.events")


@pytest.mark.parametrize("module", [name for name in LIBRARY if part_of(name) in PURE])
def test_pure_modules_import_no_loop_no_io_no_clock_and_no_randomness(module: str) -> None:
    assert not outer(module) & NOT_PURE
    assert outer(module) <= {*sys.stdlib_module_names, "msgspec"}


def test_each_file_of_the_library_has_a_floor() -> None:
    assert {part_of(name) for name in LIBRARY} == set(FLOORS)


@pytest.mark.parametrize("module", LIBRARY)
def test_imports_go_down_only(module: str) -> None:
    floor = FLOORS.index(part_of(module))
    above = {other for other in inner(module) if FLOORS.index(part_of(other)) < floor}
    assert not above, f"{module} imports {above} from a higher layer"


def test_only_modules_that_execute_tools_import_them() -> None:
    users = {part_of(name) for name in LIBRARY if "tools" in {part_of(other) for other in inner(name)}}
    assert users - {"tools"} <= MAY_USE_TOOLS


@pytest.mark.parametrize("package", [TRUNKLINE, PLUGIN], ids=lambda package: package.name)
def test_there_is_no_import_cycle(package: Package) -> None:
    names = package.modules()
    assert len(names) > 5
    TopologicalSorter({name: package.inner(name) - {name} for name in names}).prepare()


@pytest.mark.parametrize("module", STACKED)
def test_emulator_gateway_and_command_line_import_only_later_entries_of_their_list(module: str) -> None:
    order = STACKS[part_of(module)]
    assert place_of(module) in order, f"{module} has no place in the list of its package"
    own = {other for other in inner(module) if part_of(other) == part_of(module)}
    above = {other for other in own if order.index(place_of(other)) < order.index(place_of(module))}
    assert not above, f"{module} imports {above}, which precede it in the list"


def test_the_lists_name_existing_modules() -> None:
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


def test_only_the_command_line_imports_the_emulator_and_the_gateway() -> None:
    above = {"emulator", "gateway", "cli"}
    for module in LIBRARY:
        assert not {name for name in inner(module) if part_of(name) in above}, module
    for module in STACKED:
        if part_of(module) == "gateway":
            assert not {name for name in inner(module) if part_of(name) in above - {"gateway"}}, module


def test_the_library_needs_its_three_dependencies_and_no_extra() -> None:
    extras = {"opentelemetry"}
    for module in LIBRARY:
        others = THEIR_DEPENDENCIES if module in ("_network.http_proxy", "_network.socks") else set()
        assert outer(module) <= {*sys.stdlib_module_names, *CORE_DEPENDENCIES, *extras, *others}, module
