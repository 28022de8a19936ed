"""The table of faults as a page: ``python -m tests.matrix > docs/faults.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .table import ROWS, Answered, Outcome, Phase, Raises, Row, cells

_HEAD = """# Faults and recovery

The outcome of a turn for each fault of the server or network, by the phase of the turn. The page is generated
from the table that the tests in `tests/matrix` execute ({cells} cases): responses stored and not stored, one
connection with many lanes, connections with one lane each, and HTTP, in every combination that can occur.

In every case, the model sees the context that the application holds. No text is delivered twice, and none of
another conversation. The turn ends within its deadline, the next turn of the conversation works, and no
socket or task stays behind.

Entries of the tables:

- — The turn is answered; the fault has no effect.
- *retried* The turn is answered after a further attempt, which its caller does not see. `metrics.recoveries`
  has the cause, which is shown in parentheses. The attempt sends the full context, unless the parent is
  stored.
- An exception ends the turn. Before output the history is unchanged; after output it has the input and the
  text received.
- An empty entry is a combination that cannot occur.

Phases:

- **dialled**: the connection is being made.
- **sent**: the request was sent, and no event has arrived.
- **created**: the response has begun, without output.
- **reasoning**, **text**, **tool call**: output of this kind is arriving.
- **terminal**: all output has arrived, and the terminal event has not.
- **idle**: the conversation is idle; the fault concerns another turn on its connection.
- **rotating**: the turn runs on an old connection while its replacement takes new turns.
- **parent refused**: the server has refused the parent in words of its own, and the response to the full
  request has begun.
- **parent ignored**: the server has ignored the parent, and the response to the full request has begun.
- **text in one place**: the text stands in the final response only, which is arriving.

**Others** are turns of other conversations on the same connection. They continue, or end with an exception
because the connection is lost.
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
    Phase.REFUSED: "parent refused",
    Phase.IGNORED: "parent ignored",
    Phase.ONE_PLACE: "text in one place",
}
_AT_THE_DIAL = (Phase.DIALLING, Phase.ROTATING)
_AT_THE_REQUEST = (Phase.SENT, Phase.IDLE)


def page() -> str:
    """The page."""
    return "\n".join([_HEAD.format(cells=len(list(cells()))), *_sections()])


def _sections() -> Iterator[str]:
    streaming = [row for row in ROWS if Phase.CREATED in row.outcomes]
    request = [row for row in ROWS if Phase.SENT in row.outcomes and row not in streaming]
    dialling = [row for row in ROWS if Phase.DIALLING in row.outcomes]
    yield from _section("In an answer", streaming, [phase for phase in Phase if phase is not Phase.DIALLING])
    yield from _section("At a request", request, _AT_THE_REQUEST)
    yield from _section("At the upgrade", dialling, _AT_THE_DIAL)


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
    return f"*retried*{how} ({', '.join(cause.value for cause in outcome.causes)})"


def _others(row: Row) -> str:
    if isinstance(row.outcomes.get(Phase.DIALLING), Raises):
        return "the same"
    return f"`{row.falls.__name__}`" if row.falls is not None else "continue"
