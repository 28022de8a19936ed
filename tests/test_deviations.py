"""Several deviations in one response change nothing that a caller sees.

The client talks over a `FakeNetwork`. Of each response, the streamed text, the final response, the calls and
the history must be what the model meant, and the next turn must work. ``TRUNKLINE_DEVIATIONS`` is the number
of random cases; without it, few cases are tried, the same each time. Those that were found stand in `FOUND`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trunkline
from trunkline.emulator import FakeClock, FakeNetwork

from .deviations import CALLS, INSERTED, Case, Journey, Part, Said, Server, arriving
from .talk import DELTA, user

EXAMPLES = os.environ.get("TRUNKLINE_DEVIATIONS")

pieces = st.lists(st.sampled_from(["a", "b", " ", "é", "🚂", "x🚂y", "a "]), min_size=1, max_size=4).map(
    tuple
)
arguments = st.sampled_from(
    [('{"a":', " 1}"), ("{", "}"), ('{"a": "', "🚂", '"}'), ('{"', 'xx":', ' "', 'x"}')]
)
texts = st.builds(Part, pieces, st.just(value=False), st.booleans())
parts = st.builds(Part, pieces, st.booleans(), st.booleans())
items = st.one_of(
    st.builds(Said, st.just("message"), st.lists(texts, min_size=1, max_size=3).map(tuple)),
    st.builds(Said, st.just("message"), st.lists(parts, min_size=1, max_size=2).map(tuple)),
    st.builds(Said, st.just("reasoning"), st.tuples(texts)),
    st.builds(
        Said,
        st.just("function_call"),
        st.tuples(st.builds(Part, arguments, st.just(value=False), st.booleans())),
    ),
    st.builds(Said, st.just("custom_tool_call"), st.tuples(texts)),
    st.just(Said("web_search_call")),
)
places = st.integers(0, 40)
OF_SERVERS: dict[str, st.SearchStrategy[Any]] = {
    "texts": st.sampled_from(["deltas", "done", "final"]),
    "dones": st.frozensets(st.sampled_from(["text", "part", "item"]), min_size=1),
    "arguments": st.sampled_from(["deltas", "done", "item", "final"]),
    "output": st.sampled_from(["empty", "missing", "null", "with nulls"]),
    "numbers": st.sampled_from(
        ["from 1", "from 7", "none", "constant", "in steps", "by item", "floats", "strings"]
    ),
    "announces": st.just(value=False),
    "has_progress": st.just(value=False),
    "has_item_ids": st.just(value=False),
    "has_indices": st.just(value=False),
    "ids": st.sampled_from(["none", "of each event"]),
    "twice": st.frozensets(st.integers(0, 3), min_size=1),
    "is_early": st.just(value=True),
    "has_fields": st.just(value=True),
}
OF_EVENTS: dict[str, st.SearchStrategy[Any]] = {
    "swapped": st.frozensets(places, min_size=1, max_size=6),
    "repeated": st.lists(st.tuples(places, st.integers(0, 10)), min_size=1, max_size=5).map(tuple),
    "inserted": st.lists(st.tuples(places, st.sampled_from(sorted(INSERTED))), min_size=1, max_size=5).map(
        tuple
    ),
    "unnumbered": st.frozensets(places, min_size=1, max_size=3),
}


NEXT = [
    {"type": "response.created", "response": {"id": "resp_next"}},
    {"type": DELTA, "delta": "next"},
    {"type": "response.completed", "response": {"id": "resp_next", "status": "completed", "output": []}},
]
"""The answer of the next turn."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An answer with up to four deviations."""
    answer = draw(st.lists(items, min_size=1, max_size=4).map(tuple))
    names = draw(st.lists(st.sampled_from([*OF_SERVERS, *OF_EVENTS]), max_size=4, unique=True))
    if names.count("texts"):
        names.append("dones")
    server = Server(**{name: draw(OF_SERVERS[name]) for name in names if name in OF_SERVERS})
    journey = Journey(**{name: draw(OF_EVENTS[name]) for name in names if name in OF_EVENTS})
    return Case(answer, server, journey).one_reading()


def form(call: Any) -> tuple[str, str]:
    """The kind of a call and what the tool is called with; no arguments are an empty object."""
    value = call[CALLS[call["type"]]]
    return (call["type"], value or ("{}" if call["type"] == "function_call" else ""))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Talk:
    """A client of a server that sends what the test gives."""

    def __init__(self, *, lanes: bool) -> None:
        self.network, self.clock = FakeNetwork(), FakeClock()
        world = trunkline.World(
            clock=self.clock,
            wall_clock=self.clock,
            call_later=self.clock.call_later,
            random=lambda: 0.5,
            dial=self.network.dial,
        )
        self.client = trunkline.Client(
            api_key="k",
            base_url="http://fake/v1",
            lanes=lanes,
            transport="websocket",
            world=world,
            policy=trunkline.Policy(max_attempts=1),
        )

    async def turn(
        self, chat: trunkline.Conversation, given: Any, events: list[Any]
    ) -> tuple[list[Any], trunkline.ResponseStream]:
        """Send, and give the events. Returns what the caller sees."""
        seen: list[Any] = []

        async def read(stream: trunkline.ResponseStream) -> None:
            async for each in stream:
                seen.append(each)

        async with chat.send(given) as stream:
            reading = asyncio.create_task(read(stream))
            await settle()
            socket = self.network.sockets[-1]
            request = socket.sent[-1]
            lane = {"stream_id": request["stream_id"]} if "stream_id" in request else {}
            parent = {"previous_response_id": request.get("previous_response_id")}
            for each in events:
                self.clock.advance(0.001)
                shown = {"response": {**each["response"], **parent}} if "response" in each else {}
                socket.receive({**each, **shown, **lane})
            await settle()
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])
                raise AssertionError("the turn did not end")
            await reading
        return seen, stream


async def check(case: Case, *, lanes: bool) -> None:
    said = [item for item in case.answer if item.kind == "message"]
    text, refusal = "".join(item.text for item in said), "".join(item.refusal for item in said)
    calls = [(at, item) for at, item in enumerate(case.answer) if item.kind in CALLS]
    talk = Talk(lanes=lanes)
    async with talk.client as client:
        chat = client.conversation(model="m")
        seen, stream = await talk.turn(chat, "go", arriving(case))
        response = stream.response
        # 1. Text.
        assert "".join(each.delta for each in seen if each.type == DELTA) == text
        assert "".join(each.delta for each in seen if each.type == "response.refusal.delta") == refusal
        assert (stream.received_text, response.output_text) == (text, text)
        assert "".join(_parts(response.output, "refusal")) == refusal
        # 2. Calls.
        meant = [(item.kind, item.text) for _, item in calls]
        assert [form(call) for call in response.tool_calls] == meant
        assert [call["call_id"] for call in response.tool_calls] == [f"call_{at}" for at, _ in calls]
        done = [each.item for each in seen if each.type == "response.output_item.done"]
        empty = ("", "{}") if case.server.is_early else ()
        announced = [form(item) for item in done if item["type"] in CALLS and form(item)[1] not in empty]
        if case.server.arguments not in ("deltas", "done"):
            assert sorted(announced) == sorted(call for call in meant if call[1] not in empty)
        # 3. The life cycle.
        for kind in ("created", "in_progress", "completed"):
            assert sum(each.type == f"response.{kind}" for each in seen) <= 1
        assert seen[-1].type == "response.completed"
        # 4. The history, and the next turn.
        assert (
            "".join(_parts([item for item in chat.items if item.get("role") == "assistant"], "text")) == text
        )
        assert [form(item) for item in chat.items if item.get("type") in CALLS] == meant
        outputs = [
            {"type": f"{call['type']}_output", "call_id": call["call_id"], "output": "o"}
            for call in response.tool_calls
        ]
        _, stream = await talk.turn(chat, [*outputs, user("more")], NEXT)
        assert stream.received_text == "next"


def _parts(output: Any, field: str) -> Iterator[str]:
    for item in output:
        content = item.get("content") if item.get("type") == "message" else None
        yield from (part[field] for part in (content or ()) if field in part)


def message(*parts: Part) -> Said:
    return Said("message", parts)


def custom(*pieces: str) -> Said:
    return Said("custom_tool_call", (Part(pieces),))


CUT = Part(("x🚂y", "b"), is_cut=True)
REFUSAL = Part(("No", ". "), refuses=True)
FOUND = {
    "the halves of a character change places": Case(
        (message(CUT),), journey=Journey(swapped=frozenset({4, 6}))
    ),
    "a half comes twice": Case((message(CUT, CUT),), journey=Journey(repeated=((4, 2), (5, 1)))),
    "the beginning comes again between two halves": Case(
        (message(CUT),), Server(numbers="none"), Journey(repeated=((0, 4), (1, 3), (2, 2)))
    ),
    "an empty delta comes between two halves that changed places": Case(
        (message(CUT),), journey=Journey(frozenset({4}), inserted=((4, "empty delta"),))
    ),
    "a cut refusal follows text": Case((message(Part(("a",)), Part(("🚂",), refuses=True, is_cut=True)),)),
    "the input of a custom tool is in its done event": Case((custom("a", "b"),), Server(arguments="done")),
    "the beginning comes again without numbers": Case(
        (message(Part(("a", "b"))),), Server(numbers="strings"), Journey(repeated=((0, 5), (1, 0)))
    ),
    "several refusals are in done events": Case(
        (message(REFUSAL, REFUSAL), message(Part(("N",), refuses=True), Part(("a",)))),
        Server(texts="done", dones=frozenset({"part"})),
    ),
    "a refusal and text are in the done event of one item": Case(
        (message(Part(("b ",)), REFUSAL), message(Part(("b",)))),
        Server(texts="done", dones=frozenset({"item"})),
    ),
    "two messages without ids are alike": Case(
        (message(REFUSAL), custom("a"), message(REFUSAL)), Server(output="null", has_item_ids=False)
    ),
    "two messages without ids are alike and in done events": Case(
        (message(CUT), message(CUT)),
        Server(texts="done", dones=frozenset({"item"}), has_item_ids=False),
    ),
    "a call in pieces is followed by another item without an index": Case(
        (custom("a"), Said("reasoning", (CUT,))), Server(arguments="deltas", has_indices=False)
    ),
    "arguments come before their call": Case(
        (custom("a"),),
        Server(arguments="deltas", announces=False),
        Journey(swapped=frozenset({1})),
    ),
    "an event without its number precedes a swap": Case(
        (message(Part(("a", "b", "a"))),),
        Server(texts="deltas"),
        Journey(swapped=frozenset({3}), unnumbered=frozenset({1})),
    ),
    "numbers rise in steps, and events come twice": Case(
        (message(Part(("a", "a"))),), Server(numbers="in steps"), Journey(repeated=((2, 0), (5, 0), (6, 1)))
    ),
}


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND.keys())
async def test_deviations_that_were_found_change_nothing(case: Case, lanes: bool) -> None:
    assert case.one_reading() == case
    await check(case, lanes=lanes)


@settings(max_examples=int(EXAMPLES or 80), deadline=None, derandomize=EXAMPLES is None)
@given(cases(), st.booleans())
def test_deviations_change_nothing(case: Case, lanes: bool) -> None:
    asyncio.run(check(case, lanes=lanes))
