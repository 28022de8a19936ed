"""The public names of each public module are those in its ``__all__``."""

from __future__ import annotations

from types import ModuleType

import pytest

import trunkline
import trunkline.openai
from trunkline import emulator, errors, events, otel, tools

PUBLIC = [trunkline, trunkline.openai, events, tools, emulator]


def named(module: ModuleType) -> str:
    return module.__name__


@pytest.mark.parametrize("module", PUBLIC, ids=named)
def test_a_public_module_offers_its_exported_names_and_no_others(module: ModuleType) -> None:
    # pytest's assertion rewriting adds names to modules; they are not identifiers.
    offered = {
        name
        for name, value in vars(module).items()
        if name.isidentifier() and not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert offered == set(module.__all__)


@pytest.mark.parametrize("module", [errors, otel], ids=named)
def test_a_module_exports_every_public_name_that_it_defines(module: ModuleType) -> None:
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    assert defined == set(module.__all__)


@pytest.mark.parametrize("module", [*PUBLIC, errors, otel], ids=named)
def test_exported_names_are_sorted_and_given_once(module: ModuleType) -> None:
    assert sorted(set(module.__all__)) == sorted(module.__all__)


def test_every_exception_is_a_name_of_the_package() -> None:
    assert set(errors.__all__) <= set(trunkline.__all__)
