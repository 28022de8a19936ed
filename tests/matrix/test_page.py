"""The published page is generated from the tested table."""

from __future__ import annotations

from pathlib import Path

from trunkline.emulator import Action

from .page import page
from .table import ROWS, Phase, cells

_PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_page_is_up_to_date() -> None:
    assert _PAGE.read_text() == page(), "run: python -m tests.matrix > docs/faults.md"


def test_every_fault_of_the_emulator_is_in_the_table_and_every_phase() -> None:
    assert {fault.action for row in ROWS for fault in row.faults} == set(Action)
    assert {cell.phase for cell in cells()} == set(Phase)
    assert len({str(cell) for cell in cells()}) == len(list(cells()))
