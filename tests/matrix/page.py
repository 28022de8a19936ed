"""The table as a page for people: ``python -m tests.matrix > docs/faults.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .table import ROWS, Answered, Outcome, Phase, Raises, Row, cells

_HEAD = """# Faults

What becomes of a turn when something goes wrong, by the moment in which it does. This page is printed from
the table that the tests in `tests/matrix` go through, cell by cell ({cells} of them): each with responses
stored and not stored, on one socket with many lanes, on sockets with one lane each, and over HTTP, as far as
that makes sense.

In every cell, the model sees what the application holds; no text comes twice, and none of another
conversation's; the turn ends within its deadline; the next turn of the conversation works; and nothing is
left behind.

How to read it:

- — The turn is answered as if nothing had happened.
- *again* The turn is answered after it was asked again, which its caller does not see; `metrics.recoveries`
  has the cause. It is sent in full, unless the parent is stored.
- An exception ends the turn. Before any output the history stays as it was; after it, the history holds what
  was received.
- Where nothing is written, the fault cannot strike.

The moments: while the connection is **dialled**; when the request is **sent** and nothing has come back; when
the response is **created**; in the midst of **reasoning**, of **text** and of a **tool call**; when all
output has come and the **terminal** event has not; while the conversation is **idle**, and another one on its
socket is struck; and while the socket is **rotating** out: a new one takes its place, and it finishes its
answers.

**Others** are those who stream on the same socket, or wait for it: they go on undisturbed, or end with an
exception, because the socket falls.
"""

_TITLES = {
    Phase.DIALLING: "dialled",
    Phase.SENT: "sent",
    Phase.CREATED: "created",
    Phase.REASONING: "reasoning",
    Phase.TEXT: "text",
    Phase.CALL: "tool call",
    Phase.TERMINAL: "terminal",
    Phase.IDLE: "idle",
    Phase.ROTATING: "rotating",
}
_ON_THE_WAY = (Phase.DIALLING, Phase.ROTATING)
_AT_THE_REQUEST = (Phase.SENT, Phase.IDLE)


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD.format(cells=len(list(cells()))), *_sections()])


def _sections() -> Iterator[str]:
    streaming = [row for row in ROWS if Phase.CREATED in row.outcomes]
    request = [row for row in ROWS if Phase.SENT in row.outcomes and row not in streaming]
    dialling = [row for row in ROWS if Phase.DIALLING in row.outcomes]
    yield from _section("In an answer", streaming, [phase for phase in Phase if phase is not Phase.DIALLING])
    yield from _section("At a request", request, _AT_THE_REQUEST)
    yield from _section("At the upgrade", dialling, _ON_THE_WAY)


def _section(title: str, rows: Iterable[Row], phases: Iterable[Phase]) -> Iterator[str]:
    shown = list(phases)
    yield f"## {title}\n"
    yield _line(["the server …", *(_TITLES[phase] for phase in shown), "others"])
    yield _line(["---"] * (len(shown) + 2))
    for row in rows:
        outcomes = [_cell(row, phase) for phase in shown]
        yield _line([f"{row.text} (`{row.name}`)", *outcomes, _others(row)])
    yield ""


def _line(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |"


def _cell(row: Row, phase: Phase) -> str:
    if phase not in row.outcomes:
        return ""
    told = _told(row.outcomes[phase])
    different = row.unstored.get(phase)
    return f"{told}; not stored: {_told(different)}" if different is not None else told


def _told(outcome: Outcome) -> str:
    if isinstance(outcome, Raises):
        facts = [f"`{name}={value!r}`" for name, value in outcome.facts.items() if value is not None]
        return ", ".join([f"`{outcome.error.__name__}`", *facts])
    return _told_answer(outcome)


def _told_answer(outcome: Answered) -> str:
    if not outcome.causes:
        return "—"
    how = " over HTTP" if outcome.over_http else ", in full" if outcome.in_full else ""
    return f"*again*{how} ({', '.join(cause.value for cause in outcome.causes)})"


def _others(row: Row) -> str:
    if isinstance(row.outcomes.get(Phase.DIALLING), Raises):
        return "the same"
    return f"`{row.falls.__name__}`" if row.falls is not None else "go on"
