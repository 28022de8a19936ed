"""Selection of the tests that need network namespaces."""

from __future__ import annotations

import pytest

from .namespaces import can_be_made


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "namespaces: needs network namespaces; deselected where none can be made"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect them where this process may not make any, which the summary counts."""
    needing = [item for item in items if item.get_closest_marker("namespaces")]
    if needing and not can_be_made():
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)
