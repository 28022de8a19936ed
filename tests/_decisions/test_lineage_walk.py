"""Random callers who share words: no context holds what another caller alone caused.

Each hidden item, reasoning and hosted results, is tagged with its cause. The context of every response may
hold hosted results of its own caller only, and reasoning of another caller only if it was made from equal
items under equal fields.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from trunkline._decisions.lineage import Lineage, LineageLimits, Place, Way

from .callers import JSON, Made, Service, asked, user

HIDDEN = ("reasoning", "mcp_call")
WORDS = st.sampled_from(["go on", "go on", "stop"])
ANSWERS = st.sampled_from(["Done.", "Done.", "No."])
OFTEN = st.sampled_from([True, True, False])


def visible(items: list[JSON]) -> list[tuple[str, str]]:
    """Role and text of the messages."""
    return [
        (item["role"], item["content"] if isinstance(item["content"], str) else item["content"][0]["text"])
        for item in items
        if item["type"] == "message"
    ]


@dataclass
class Cause:
    """What a hidden item was made of.

    Attributes:
        caller: who caused it.
        fields: the fields of the request.
        seen: the messages before it.
        hidden: the hidden items before it.
    """

    caller: str
    fields: tuple[str, str]
    seen: list[tuple[str, str]]
    hidden: list[str]


@dataclass
class Caller:
    """A caller with its own history.

    Attributes:
        name: its name, which no request shows.
        fields: instructions and other fields.
        keeps_ids: it sends the ids of messages back.
        keeps_hosted: it sends hosted results back.
        key: its key.
        said: its history.
        last: the id of its last response, if it is the end of the history.
        known: hidden items that it caused, or that were made of what it held.
    """

    name: str
    fields: tuple[str, str]
    keeps_ids: bool
    keeps_hosted: bool
    key: str | None
    said: list[JSON] = field(default_factory=list)
    last: str | None = None
    known: set[str] = field(default_factory=set)


class Walk(RuleBasedStateMachine):
    """Callers who speak, chain by id, edit, fork, change their instructions, and leave."""

    def __init__(self) -> None:
        super().__init__()
        self.service = Service(Lineage(LineageLimits(max_responses=40, max_keys=2, idle_s=50.0)))
        self.callers: list[Caller] = []
        self.causes: dict[str, Cause] = {}
        self.running: list[tuple[Caller, Place, list[JSON], tuple[str, str]]] = []

    @rule(
        instructions=st.sampled_from(["", "brief"]),
        other=st.sampled_from(["", "user=1"]),
        keeps_ids=st.booleans(),
        keeps_hosted=st.booleans(),
        has_key=st.sampled_from([False, False, True]),
    )
    def join(self, instructions: str, other: str, keeps_ids: bool, keeps_hosted: bool, has_key: bool) -> None:
        if len(self.callers) < 8:
            name = f"caller {len(self.callers)}"
            key = name if has_key else None
            self.callers.append(Caller(name, (instructions, other), keeps_ids, keeps_hosted, key))

    @rule(
        number=st.integers(0, 7),
        words=WORDS,
        text=ANSWERS,
        thinks=OFTEN,
        calls=st.sampled_from([False, False, True]),
        by_id=st.booleans(),
    )
    def speak(self, number: int, words: str, text: str, thinks: bool, calls: bool, by_id: bool) -> None:
        if self.callers:
            caller = self.callers[number % len(self.callers)]
            self.begin(caller, words, by_id)
            self.finish(len(self.running) - 1, text, thinks, calls, True)

    @rule(number=st.integers(0, 7), words=WORDS, by_id=st.booleans())
    def send(self, number: int, words: str, by_id: bool) -> None:
        """A request that runs while others do."""
        if self.callers and len(self.running) < 5:
            self.begin(self.callers[number % len(self.callers)], words, by_id)

    @rule(
        number=st.integers(0, 4),
        text=ANSWERS,
        thinks=OFTEN,
        calls=st.booleans(),
        is_complete=st.booleans(),
    )
    def receive(self, number: int, text: str, thinks: bool, calls: bool, is_complete: bool) -> None:
        if self.running:
            self.finish(number % len(self.running), text, thinks, calls, is_complete)

    @rule(number=st.integers(0, 4))
    def leave(self, number: int) -> None:
        if self.running:
            _, place, _, _ = self.running.pop(number % len(self.running))
            self.service.lineage.give_up(place)

    @rule(number=st.integers(0, 7), count=st.integers(1, 3))
    def truncate(self, number: int, count: int) -> None:
        """Drop the end of a history, as for another answer."""
        if self.callers:
            caller = self.callers[number % len(self.callers)]
            caller.said, caller.last = caller.said[:-count], None

    @rule(number=st.integers(0, 7), other=st.integers(0, 7), takes_fields=OFTEN, words=WORDS, text=ANSWERS)
    def imitate(self, number: int, other: int, takes_fields: bool, words: str, text: str) -> None:
        """Guess the words of another caller's history, without its ids, and continue it."""
        if self.callers:
            one, another = (self.callers[each % len(self.callers)] for each in (number, other))
            if one is another:
                return
            one.said = [
                {"type": "message", "role": role, "content": text} for role, text in visible(another.said)
            ]
            one.last = None
            one.fields = another.fields if takes_fields else one.fields
            self.speak(number, words, text, thinks=True, calls=False, by_id=False)

    @rule(
        number=st.integers(0, 7),
        turns=st.lists(
            st.tuples(WORDS, st.sampled_from(["", "", "brief", "formal"]), st.booleans()), max_size=4
        ),
        calls=st.sampled_from([False, True]),
    )
    def converse(self, number: int, turns: list[tuple[str, str, bool]], calls: bool) -> None:
        """Several turns, some under other instructions and some by id."""
        for words, instructions, by_id in turns if self.callers else ():
            self.instruct(number, instructions)
            self.speak(number, words, "Done.", thinks=True, calls=calls, by_id=by_id)
            calls = False

    @rule(number=st.integers(0, 7), instructions=st.sampled_from(["", "brief", "formal"]))
    def instruct(self, number: int, instructions: str) -> None:
        if self.callers:
            caller = self.callers[number % len(self.callers)]
            caller.fields = (instructions, caller.fields[1])

    @rule(number=st.integers(0, 7))
    def delete(self, number: int) -> None:
        if self.callers and (last := self.callers[number % len(self.callers)].last) is not None:
            self.service.lineage.forget(last)

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.service.now += seconds

    def begin(self, caller: Caller, words: str, by_id: bool) -> None:
        parent_id = caller.last if by_id else None
        items = [*([] if parent_id is not None else caller.said), user(words)]
        instructions, fields = caller.fields
        request = asked(items, instructions=instructions, fields=fields, parent_id=parent_id, key=caller.key)
        place = self.service.begin(request)
        whole = [*caller.said, user(words)]
        self.running.append((caller, place, whole, caller.fields))

    def finish(self, index: int, text: str, thinks: bool, calls: bool, is_complete: bool) -> None:
        caller, place, whole, fields = self.running.pop(index)
        name = f"resp_{next(self.service.numbers)}"
        output: list[JSON] = []
        if thinks:
            output.append({"type": "reasoning", "id": f"rs_{name}", "summary": []})
        if calls:
            output.append({"type": "mcp_call", "id": f"mcp_{name}", "output": f"a result of {caller.name}"})
        part = {"type": "output_text", "text": text}
        output.append({"type": "message", "role": "assistant", "id": f"msg_{name}", "content": [part]})
        made = self.service.end(place, output, response_id=name, is_complete=is_complete)
        self.check(caller, made, whole, fields)
        before = made.context[: len(made.context) - len(output)]
        hidden = [item["id"] for item in before if item["type"] in HIDDEN]
        for item in output:
            if item["type"] in HIDDEN:
                self.causes[item["id"]] = Cause(caller.name, fields, visible(before), hidden)
                caller.known.add(item["id"])
        caller.said = [*whole, *(kept for item in output if (kept := self.kept(caller, item)))]
        caller.last = name if is_complete else None

    def kept(self, caller: Caller, item: JSON) -> JSON | None:
        """An output item as the caller keeps it."""
        if item["type"] == "reasoning" or (item["type"] == "mcp_call" and not caller.keeps_hosted):
            return None
        return item if caller.keeps_ids or item["type"] == "mcp_call" else {**item, "id": None}

    def check(self, caller: Caller, made: Made, whole: list[JSON], fields: tuple[str, str]) -> None:
        if made.place.way is Way.AS_GIVEN:
            return  # the context is the service's
        before = made.context[: len(made.context) - len(made.output)]
        assert visible(before) == visible(whole), "the model saw other messages than the caller holds"
        own = {item["id"] for item in whole if item.get("id")}
        for index, item in enumerate(before):
            if item["type"] not in HIDDEN or item["id"] in own:
                continue
            cause = self.causes[item["id"]]
            if cause.caller == caller.name or item["id"] in caller.known:
                continue
            assert item["type"] == "reasoning", f"{caller.name} got a hosted result of {cause.caller}"
            assert cause.seen == visible(before[:index]), "reasoning was made from other messages"
            assert cause.fields == fields, "reasoning was made under other fields"
            assert caller.known.issuperset(cause.hidden), "reasoning was made from hidden items of others"
            caller.known.add(item["id"])


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

TURNS = int(os.environ.get("TRUNKLINE_WALK_TURNS", "4000"))


@pytest.mark.parametrize("seed", range(3))
def test_long_walks(seed: int) -> None:
    """Walks longer than those that hypothesis tries, in which callers meet more often."""
    chance = random.Random(seed)
    deltas = turns = 0
    while turns < TURNS:
        walk = Walk()
        for _ in range(chance.randint(2, 5)):
            walk.join(
                instructions=chance.choice(["", "", "brief"]),
                other=chance.choice(["", "", "user=1"]),
                keeps_ids=chance.random() < 0.5,
                keeps_hosted=chance.random() < 0.3,
                has_key=chance.random() < 0.2,
            )
        for _ in range(30):
            step(walk, chance)
        made = walk.service.made.values()
        turns += len(made)
        deltas += sum(each.mode == "delta" for each in made)
    assert deltas > turns // 4  # the limits leave something


def step(walk: Walk, chance: random.Random) -> None:
    """A random step, with turns more often than anything else."""

    def one(*choices: Any) -> Any:
        return chance.choice(choices)

    number, other = chance.randrange(8), chance.randrange(8)
    words, text = one("go on", "go on", "stop"), one("Done.", "Done.", "No.")
    thinks, calls, by_id = chance.random() < 0.7, chance.random() < 0.2, chance.random() < 0.3
    match chance.randrange(20):
        case 0 | 1 | 2:
            walk.imitate(number, other, one(True, True, False), words, text)
        case 3:
            walk.instruct(number, one("", "brief", "formal"))
        case 4:
            walk.truncate(number, one(1, 2, 3))
        case 5:
            walk.send(number, words, by_id)
        case 6:
            walk.receive(number, text, thinks, calls, one(True, True, False))
        case 7:
            one(walk.leave, walk.delete)(number)
        case 8:
            walk.wait(one(1.0, 1.0, 1.0, 30.0, 60.0))
        case 9 | 10:
            walk.converse(number, [(words, one("", "brief"), by_id), (words, one("", "brief"), by_id)], calls)
        case _:
            walk.speak(number, words, text, thinks, calls, by_id)
