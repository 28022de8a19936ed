"""The table as a page: ``python -m tests.openai.matrix > docs/openai-sdk-faults.md``."""

from __future__ import annotations

from collections.abc import Iterator

from .table import FINE, ROWS, Outcome, Pair, Phase, Row, Shape, Way, cases

_HEAD = """# Faults through the openai SDK

The outcome of a call of the `openai` package for each fault of the server or network, over plain HTTP and
through the [drop-in](openai-sdk.md). The page is generated from the table that the tests in
`tests/openai/matrix` execute ({cases} cases, in `make test`). `AsyncOpenAI` and `OpenAI` have the same
outcomes through the drop-in.

In every case the model sees the context that the caller holds, and the next request is answered. The drop-in
delivers no text twice; plain HTTP delivers an event twice if the server sends it twice.

The SDK repeats a request after 408, 409, 429, 5xx and broken connections, up to `max_retries` times; here it
is `max_retries=1`. Over HTTP it cannot repeat a stream whose head has arrived. The drop-in holds the head
back until the first output, so that the SDK can.

Entries of the tables; a fault occurs once, or it lasts:

- — The call is answered; the fault has no effect.
- *the SDK repeats it* The call is answered by a further attempt of the SDK.
- *repeated immediately* The call is answered by a further attempt of the drop-in, on another socket or with
  the whole context. The SDK does not see it. The drop-in sends at most twice as many requests as the SDK.
- An exception ends the call: its class, its status, or the exception of `httpx2` that is its `__cause__`.
- *N requests* The number that the service got until the exception, if more than one.
- An empty entry is a combination that cannot occur.

The exceptions are those of the newest `openai` package. Older ones raise the exception of `httpx2` itself
where a stream breaks.
"""

_TITLES = {
    Phase.UPGRADE: (
        "At the upgrade",
        "The first request opens the socket. Where that fails, the SDK's own request goes over HTTP, and\n"
        "the service decides on it. After 429 it does not, because the rate limit holds there too.",
    ),
    Phase.REQUEST: (
        "At the request",
        "The request continues an earlier response. If a delta is refused, its parent may be the reason, so\n"
        "that the whole context is sent.",
    ),
    Phase.BEFORE: ("Before output", "A call that is not streamed has no output before its end."),
    Phase.AMID: ("Amid the output of a stream", "The text before the fault has been delivered."),
}


def page() -> str:
    """The page."""
    count = sum(1 for row in ROWS for _ in cases(row))
    return "\n".join([_HEAD.format(cases=count), *_sections()])


def _sections() -> Iterator[str]:
    for phase, (title, text) in _TITLES.items():
        rows = [row for row in ROWS if row.phase is phase]
        yield f"## {title}\n\n{text}\n"
        yield "| the server … | call | plain HTTP | drop-in |\n| --- | --- | --- | --- |"
        for row in rows:
            yield from _lines(row)
        yield ""


def _lines(row: Row) -> Iterator[str]:
    """One line for both kinds of calls, if their outcomes are equal."""
    found = {
        shape: tuple(row.outcomes.get((way, shape)) for way in Way)
        for shape in Shape
        if (Way.DROPIN, shape) in row.outcomes
    }
    first, *others = found.values()
    if all(other == first for other in others):
        found = {Shape.STREAM: first}
    for shape, pairs in found.items():
        call = "any" if len(found) == 1 and row.phase is not Phase.AMID else shape.value
        yield f"| {row.text} (`{row.name}`) | {call} | {' | '.join(map(_told_pair, pairs))} |"


def _told_pair(pair: Pair | None) -> str:
    if pair is None:
        return ""
    if pair == FINE:
        return "—"
    once, lasting = map(_told, pair)
    return once if once == lasting else f"{once}; if it lasts, {lasting}"


def _told(outcome: Outcome) -> str:
    if outcome.status == "error event":
        return "an `error` event"
    if outcome.error is None and outcome.status is not None:
        return f"response with `status={outcome.status!r}`"
    if outcome.error is None:
        if outcome.tries > 1:
            return "*the SDK repeats it*"
        return "*repeated immediately*" if outcome.requests > 1 else "—"
    facts = [str(outcome.status)] if outcome.status is not None else []
    facts += [f"(`{outcome.cause}`)"] if outcome.cause is not None else []
    count = f", {outcome.requests} requests" if outcome.requests > 1 else ""
    return " ".join([f"`{outcome.error}`", *facts]) + count
