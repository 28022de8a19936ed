"""Every cell of the fault matrix."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from trunkline import Cause, ConnectionLost, TurnError

from ..promise.canonical import canonical, text_of
from ..waiting import TIME_SCALE, soon, until
from .stage import NAMES, NEIGHBOUR, SILENCE_S, WORDS, WORDS_BEFORE, Role, Stage, words
from .table import AFTER_OUTPUT, WITHOUT_PARENT, Answered, Cell, Outcome, Phase, Raises, Way, cells

SLACK_S = 5 * TIME_SCALE


@pytest.mark.parametrize("cell", list(cells()), ids=str)
async def test_each_fault_ends_as_the_table_says(cell: Cell) -> None:
    async with AsyncExitStack() as stack:
        stage = Stage(cell)
        await stage.open(stack)
        await stage.struck_turn()
        assert stage.has_struck, f"of {cell.row.faults}, only {stage.fired} occurred"
        check_socket_is_shared(stage)
        check_actor(stage)
        await go_on(stage, stage.actor, mode_after(cell))
        await check_neighbour(stage)
        await go_on(stage, stage.neighbour)


def check_actor(stage: Stage) -> None:
    """The turn with the fault ends as the table says, and no part of its answer is delivered twice."""
    cell, actor, outcome = stage.cell, stage.actor, stage.cell.outcome
    assert actor.took_s < (SILENCE_S if cell.row.is_silence else 0) + SLACK_S
    if isinstance(outcome, Raises):
        assert actor.error is not None, f"answered, with {actor.stream.metrics.recoveries}"
        check_error(actor.error, outcome, cell.phase)
    else:
        assert actor.error is None, repr(actor.error)
        check_answer(stage, outcome)
    check_text(actor, outcome, cell.phase, cell.way)
    check_context(stage, actor)


def check_error(error: TurnError, outcome: Raises, phase: Phase) -> None:
    assert type(error) is outcome.error, repr(error)
    facts = {
        "sent": phase is not Phase.DIALLING,
        "started": phase in (*AFTER_OUTPUT, *WITHOUT_PARENT, Phase.CREATED, Phase.ONE_PLACE),
        "output_seen": phase in AFTER_OUTPUT,
        **outcome.facts,
    }
    assert {name: getattr(error, name) for name in facts} == facts


def check_answer(stage: Stage, outcome: Answered) -> None:
    cell, metrics = stage.cell, stage.actor.stream.metrics
    assert tuple(metrics.recoveries) == outcome.causes
    assert metrics.attempts == 1 + len(outcome.causes)
    if set(outcome.causes) & {Cause.CONNECTION, Cause.LIMIT, Cause.STALLED} and stage.struck is not None:
        record = stage.emulator.responses[stage.actor.stream.response.id]
        assert record.connection_id != stage.struck, "the retry uses another connection"
    over_http = outcome.over_http or cell.way is Way.HTTP
    assert metrics.transport == ("http" if over_http else "websocket")
    assert metrics.mode == ("delta" if is_delta(cell, outcome) else "full")


def is_delta(cell: Cell, outcome: Answered) -> bool:
    """Whether the turn with the fault was answered with a parent."""
    if cell.phase is Phase.DIALLING or outcome.in_full:
        return False
    moved = bool(outcome.causes) or cell.way is Way.HTTP
    if cell.phase is Phase.IDLE:
        moved = cell.neighbour_falls is not None
    return cell.store or not moved


def mode_after(cell: Cell) -> str:
    """Mode of the turn after the fault: only stored parents outlive a connection or a failed turn."""
    outcome = cell.outcome
    failed = isinstance(outcome, Raises)
    if failed and cell.phase is Phase.DIALLING:
        return "full"
    if cell.phase is Phase.IGNORED or (cell.phase is Phase.REFUSED and not failed):
        return "full"  # a parent that is refused was not the reason if the full request fails as well
    if isinstance(outcome, Answered) and {Cause.PARENT_REFUSED, Cause.PARENT_IGNORED} & {*outcome.causes}:
        return "full"  # the endpoint is given no parent again
    over_http = cell.way is Way.HTTP or (isinstance(outcome, Answered) and outcome.over_http)
    moves = failed or over_http or cell.phase is Phase.ROTATING
    return "delta" if cell.store or not moves else "full"


def check_text(role: Role, outcome: Outcome, phase: Phase, way: Way) -> None:
    """Every word was received once and in order, and no word of another turn."""
    received = role.received.split()
    expected = "".join(words(role.token, len(received))).split()
    assert received == expected
    if isinstance(outcome, Answered):
        assert role.received == role.stream.response.output_text
    if isinstance(outcome, Raises) and phase is not Phase.ROTATING:
        heard = {Phase.TEXT: WORDS_BEFORE, Phase.TERMINAL: WORDS}.get(phase, 0)
        # The emulator cuts HTTP off while its last words are still in a buffer.
        lost = way is Way.HTTP and outcome.error is ConnectionLost and phase is Phase.TERMINAL
        assert heard - lost <= len(received) <= heard, "the words before the fault can be read"


def check_context(stage: Stage, role: Role) -> None:
    """The model's context equals the application's history, before and after the turn."""
    if role.error is None:
        record = stage.emulator.responses[role.stream.response.id]
        assert canonical(record.effective_context) == canonical([*role.held, *role.new])
        assert role.stream.response.output_text == text_of(record.output)
        seen = json.dumps(record.effective_context)
        assert not any(f"{name}-" in seen for name in NAMES if name != role.name)
    role.settle()
    assert canonical(role.chat.items) == canonical(role.held)


def check_socket_is_shared(stage: Stage) -> None:
    """With lanes, the neighbour's turn runs on the connection of the fault."""
    if stage.cell.way is Way.MANY and stage.struck is not None:
        responses = stage.emulator.responses.values()
        assert stage.struck in [one.connection_id for one in responses if f"{NEIGHBOUR}-1" in str(one.input)]


async def check_neighbour(stage: Stage) -> None:
    """The neighbour's turn is not disturbed, unless the table lists the connection as lost."""
    neighbour, expected = stage.neighbour, neighbour_error(stage.cell)
    if expected is None:
        assert not stage.talking.done(), "the neighbour's turn ended early"
    await stage.end_of_talk(neighbour)
    if expected is None:
        assert neighbour.error is None, repr(neighbour.error)
        recoveries = neighbour.stream.metrics.recoveries
        assert not recoveries or stage.cell.phase is Phase.DIALLING
    else:
        assert type(neighbour.error) is expected
        await until(lambda: not stage.struck_is_open, "the socket is closed")
        assert neighbour.error.output_seen is (stage.cell.phase is not Phase.DIALLING)
    received = neighbour.received.split()
    assert received == "".join(words(neighbour.token, len(received))).split()
    check_context(stage, neighbour)


def neighbour_error(cell: Cell) -> type[TurnError] | None:
    if cell.phase is Phase.DIALLING and cell.way is Way.MANY and isinstance(cell.outcome, Raises):
        return cell.outcome.error  # both wait for the same connection
    return cell.neighbour_falls


async def go_on(stage: Stage, role: Role, mode: str | None = None) -> None:
    """The next turn of the conversation succeeds in one attempt, with the right context."""
    await soon(role.begin("say"))
    metrics: Any = role.stream.metrics
    assert role.error is None, repr(role.error)
    assert (metrics.attempts, metrics.recoveries) == (1, [])
    assert role.received == "".join(words(role.token, WORDS))
    assert mode in (None, metrics.mode)
    check_context(stage, role)
