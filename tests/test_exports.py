"""The public names of each public module."""

from __future__ import annotations

from types import ModuleType

import pytest

from trunkline import events


@pytest.mark.parametrize("module", [events], ids=lambda module: module.__name__)
def test_a_module_offers_the_names_it_exports_and_no_others(module: ModuleType) -> None:
    # pytest rewrites the assertions of modules, with names that are none.
    offered = {name for name in vars(module) if name.isidentifier() and not name.startswith("_")}
    assert offered == set(module.__all__)
    assert len(module.__all__) == len(offered)
