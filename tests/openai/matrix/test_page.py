"""The published page is generated from the tested table."""

from __future__ import annotations

from pathlib import Path

from trunkline.emulator import Action

from .page import page
from .table import ROWS, Phase, cases

_PAGE = Path(__file__).parents[3] / "docs" / "openai-sdk-faults.md"


def test_the_page_is_up_to_date() -> None:
    assert _PAGE.read_text() == page(), "run: python -m tests.openai.matrix > docs/openai-sdk-faults.md"


def test_every_fault_of_the_emulator_is_in_the_table_and_every_phase() -> None:
    assert {fault.action for row in ROWS for fault in row.faults} == set(Action)
    assert {row.phase for row in ROWS} == set(Phase)
    names = [str(case) for row in ROWS for case in cases(row)]
    assert len(set(names)) == len(names)
