"""Random callers of the SDK who share words, on one emulator with faults: no context is wrong or foreign.

Each caller keeps its history by itself. The context of every response must equal that history, and reasoning
in it must be the caller's own, or made from equal items under equal fields.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from trunkline.emulator import Emulator
from trunkline.emulator.testing import normalised

from .talk import JSON, dropin, sent_back, user

TURNS = int(os.environ.get("TRUNKLINE_DROPIN_TURNS", "150"))
RETRIES = int(os.environ.get("TRUNKLINE_DROPIN_RETRIES", "0"))
WORDS = ["hello", "go on", "go on", "why?"]
MODELS = ["reason", "reason", "echo", "mixed"]


@dataclass
class Cause:
    """What reasoning was made of."""

    caller: str
    fields: JSON
    before: list[JSON]


@dataclass
class Caller:
    """One caller, and what it holds.

    Attributes:
        name: its name, which no request shows.
        fields: the fields of its requests.
        keeps: how it keeps outputs: as received, without ids, or as words alone.
        said: its history.
        last: the id of its last response, if the history ends with it.
        known: reasoning that it may have in its context.
    """

    name: str
    fields: JSON
    keeps: str
    said: list[JSON] = field(default_factory=list)
    last: str | None = None
    known: set[str] = field(default_factory=set)


class Crowd:
    """Callers of one service.

    Args:
        emulator: the service.
        client: the SDK, which all callers share.
        chance: the source of randomness.
        causes: what reasoning was made of; earlier crowds left theirs.
    """

    def __init__(
        self,
        emulator: Emulator,
        client: AsyncOpenAI,
        chance: random.Random,
        causes: dict[str, Cause],
    ) -> None:
        self.emulator = emulator
        self.client = client
        self.chance = chance
        self.causes = causes
        self.counts: Counter[str] = Counter()
        self.callers = [self._caller(number) for number in range(8)]

    def _caller(self, number: int) -> Caller:
        chance = self.chance
        fields: JSON = {"model": chance.choice(MODELS), "store": chance.choice([True, False])}
        if chance.random() < 0.3:
            fields["instructions"] = chance.choice(["brief", "formal"])
        if chance.random() < 0.3:
            fields["user"] = f"user {number % 2}"
        if chance.random() < 0.2:
            fields["extra_headers"] = {"x-trunkline-key": f"key {number}"}
        if chance.random() < 0.5:
            fields["include"] = ["reasoning.encrypted_content"]
        return Caller(f"caller {number}", fields, chance.choice(["all", "no ids", "words"]))

    async def turn(self, caller: Caller) -> None:
        """One turn: a request, its check, and the new history."""
        chance = self.chance
        if chance.random() < 0.1 and caller.said:
            caller.said, caller.last = caller.said[: chance.randrange(len(caller.said))], None
            while caller.said and caller.said[-1].get("type") == "function_call":
                caller.said.pop()
        if chance.random() < 0.05:
            caller.fields = {**caller.fields, "instructions": chance.choice(["brief", "formal"])}
        new = [user(chance.choice(WORDS))]
        whole = [*caller.said, *new]
        by_id = caller.last is not None and chance.random() < 0.4
        body: JSON = {**caller.fields, "input": new if by_id else whole}
        if by_id:
            body["previous_response_id"] = caller.last
        try:
            response = await self.ask(caller, body, leaves=chance.random() < 0.1)
        except APIError as error:
            self.counts[type(error).__name__] += 1
            return
        if response is None:
            self.counts["left"] += 1
            return
        if self.emulator.responses[response.id].transport == "websocket":  # else it was sent in full
            assert response.previous_response_id == body.get("previous_response_id")
        self.check(caller, response.id, whole)
        caller.said = [*whole, *self.kept(caller, response.output)]
        caller.last = response.id
        if caller.keeps != "all" or not caller.fields["store"]:
            caller.last = response.id if chance.random() < 0.8 else None

    async def ask(self, caller: Caller, body: JSON, *, leaves: bool) -> Any:
        """The response; ``None`` if its stream was left."""
        if not leaves and self.chance.random() < 0.5:
            return await self.client.responses.create(**body)
        stream: Any = await self.client.responses.create(**body, stream=True)
        async with stream:
            async for event in stream:
                if event.type == "response.completed":
                    return event.response
                if event.type == "response.created":
                    name = event.response.id
                if leaves and event.type == "response.output_text.delta":
                    # It may have ended meanwhile, and then it can be continued.
                    self.note(caller, name)
                    return None
        raise AssertionError("the stream ended without a response")

    def kept(self, caller: Caller, output: list[Any]) -> list[JSON]:
        items = sent_back(output)
        if caller.keeps == "all":
            return [item for item in items if item["type"] != "reasoning" or item.get("encrypted_content")]
        messages = [item for item in items if item["type"] == "message"]
        if caller.keeps == "no ids":
            return [{name: value for name, value in item.items() if name != "id"} for item in messages]
        return [
            {"role": "assistant", "content": "".join(part["text"] for part in item["content"])}
            for item in messages
        ]

    def check(self, caller: Caller, response_id: str, whole: list[JSON]) -> None:
        record = self.emulator.responses[response_id]
        seen = record.effective_context
        assert normalised(seen) == normalised(whole), f"{caller.name} got a wrong context"
        self.counts["delta" if record.previous_response_id else "full"] += 1
        fields = {name: value for name, value in caller.fields.items() if name != "extra_headers"}
        own = {item.get("id") for item in whole} | {item.get("encrypted_content") for item in whole}
        for index, item in enumerate(seen):
            if item.get("type") != "reasoning":
                continue
            names = [item.get("id"), item.get("encrypted_content")]
            if set(names) & (caller.known | (own - {None})):
                continue
            name = next(name for name in names if name in self.causes)
            cause = self.causes[name]
            assert cause.fields == fields, f"{caller.name} got reasoning made under other fields"
            assert cause.before == normalised(seen[:index]), "reasoning was made from other items"
            caller.known.add(name)
        self.note(caller, response_id)

    def note(self, caller: Caller, response_id: str) -> None:
        """Note whose reasoning is in a response."""
        record = self.emulator.responses[response_id]
        fields = {name: value for name, value in caller.fields.items() if name != "extra_headers"}
        cause = Cause(caller.name, fields, normalised(record.effective_context))
        for item in record.output:
            for name in (item.get("id"), item.get("encrypted_content")):
                if item["type"] == "reasoning" and name is not None:
                    self.causes[name] = cause
                    caller.known.add(name)

    def fault(self) -> None:
        """Lay one fault."""
        chance, faults = self.chance, self.emulator.faults
        laid: list[tuple[str, JSON]] = [
            ("drop", {"event": chance.randint(1, 9)}),
            ("close", {"event": chance.randint(1, 9)}),
            ("forget", {}),
            ("reject", {"status": 503, "headers": {"retry-after": "0"}}),
            ("fail", {"event": chance.randint(2, 9), "status": 500}),
            ("duplicate", {"event": chance.randint(1, 9)}),
            ("connection_limit", {"event": chance.randint(1, 9)}),
            ("refuse_upgrade", {"status": 503}),
        ]
        action, details = chance.choice(laid)
        faults.clear()
        faults.add(action, **details)


@pytest.mark.parametrize("retention", [False, True, "silent"], ids=["stored", "zdr", "silent zdr"])
async def test_no_context_is_wrong_or_foreign(retention: Any) -> None:
    seed = int(os.environ.get("TRUNKLINE_DROPIN_SEED", "1"))
    chance = random.Random(f"{seed} {retention}")
    async with Emulator(zdr=retention) as emulator, dropin(emulator, max_retries=RETRIES) as client:
        turns, deltas, causes = 0, 0, dict[str, Cause]()
        while turns < TURNS:
            crowd = Crowd(emulator, client, chance, causes)
            for _ in range(min(TURNS, 150) // 5):
                if chance.random() < 0.3:
                    crowd.fault()
                speakers = chance.sample(crowd.callers, chance.randint(1, 5))
                await asyncio.gather(*(crowd.turn(caller) for caller in speakers))
                turns += len(speakers)
            deltas += crowd.counts["delta"]
    assert deltas > 0
