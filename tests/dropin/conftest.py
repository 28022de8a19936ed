"""Selection of the tests whose packages are installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

OLD_SDK = Path(sys.prefix) / "openai-httpx"
"""Where ``make test-dropin`` installs a version of the openai SDK on httpx."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "package(name): needs a package; deselected where it is not installed")
    config.addinivalue_line("markers", "old_sdk: needs an old openai SDK; deselected where there is none")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the others, which the summary counts. ``make test-dropin`` installs everything."""
    lacking = [item for item in items if not can_run(item)]
    if lacking:
        items[:] = [item for item in items if item not in lacking]
        config.hook.pytest_deselected(items=lacking)


def can_run(item: pytest.Item) -> bool:
    """Whether what a test needs is installed."""
    if item.get_closest_marker("old_sdk") and not OLD_SDK.is_dir():
        return False
    package = item.get_closest_marker("package")
    return package is None or is_installed(package.args[0])


def is_installed(name: str) -> bool:
    """Whether a package can be imported."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False
