"""Every case of the matrix, many at the same time: most wait for the SDK's next attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from trunkline.emulator.testing import normalised

from ...waiting import soon
from .stage import Stage
from .table import ROWS, Case, Phase, Row, Way, cases

BATCH = 6


def batches() -> Iterator[tuple[Row, ...]]:
    """The rows, several at a time. Timeouts must not meet a loop that is busy with others."""
    waiting = [row for row in ROWS if not row.is_silence]
    for start in range(0, len(waiting), BATCH):
        yield tuple(waiting[start : start + BATCH])
    for row in ROWS:
        if row.is_silence:
            yield (row,)


@pytest.mark.parametrize("rows", list(batches()), ids=lambda rows: f"{rows[0]} and {len(rows) - 1} more")
async def test_the_sdk_sees_each_fault_as_the_table_says(rows: tuple[Row, ...]) -> None:
    await asyncio.gather(*(check(case) for row in rows for case in cases(row)))


async def check(case: Case) -> None:
    stage = Stage(case)
    await soon(stage.play(), within_s=60)
    assert case.row.model is not None or stage.has_struck, f"{case}: the fault did not occur"
    assert stage.struck.outcome == case.outcome, case
    after = stage.asked[-1]
    assert (after.outcome.error, after.outcome.requests) == (None, 1), f"{case}: the next request"
    check_contexts(stage)
    if case.row.phase is Phase.AMID:
        assert stage.struck.text, f"{case}: the fault was not amid output"


def check_contexts(stage: Stage) -> None:
    """The model saw what the caller holds, and the caller has the text of that response, once."""
    for asked in stage.asked:
        response = asked.response
        if response is None or response.status != "completed":
            continue
        record = stage.emulator.responses[response.id]
        assert normalised(record.effective_context) == normalised(asked.held), stage.case
        if stage.case.way is Way.DROPIN:  # plain HTTP delivers what the server sends twice
            assert asked.text in ("", response.output_text), stage.case
