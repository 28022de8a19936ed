"""Random callers of the openai SDK who share words, on one emulator: no context is wrong or foreign.

Each caller keeps its history by itself, and most name no conversation. The context of every response must
equal the history of its caller. Hidden items in it that the caller did not send are checked against the
emulator's records:

- A result of a hosted tool must be of a response that this caller got.
- Reasoning must be of such a response, or made from equal items under equal fields.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from hashlib import blake2b
from typing import Any

import httpx2
import msgspec
from openai import APIError, AsyncOpenAI

from trunkline.emulator import Call, Emulator, Prompt, Reason, ResponseRecord, Say, Step
from trunkline.emulator.testing import normalised

from .received import Received, check_final
from .talk import JSON, user

KEYLESS = 40
KEYED = 4
PATIENCE_S = 300.0
"""The longest turn has three attempts of the SDK, each with timeouts of its own, on a busy machine."""
WORDS = ("hello", "go on", "go on", "why?", "the clock")
TIMES = ("noon", "noon", "midnight")
INSTRUCTIONS = ("brief", "formal")
CLOCK: JSON = {
    "type": "function",
    "name": "clock",
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    "strict": True,
}
MCP: JSON = {
    "type": "mcp",
    "server_label": "wiki",
    "server_url": "https://mcp.example.com",
    "require_approval": "never",
}
SEARCH: JSON = {"type": "web_search"}
PYTHON: JSON = {"type": "code_interpreter", "container": {"type": "auto"}}
HOSTED_TOOLS: tuple[list[JSON], ...] = ([MCP], [MCP], [SEARCH], [PYTHON], [SEARCH, MCP])
HOSTED_ITEMS = frozenset(("web_search_call", "mcp_list_tools", "mcp_call", "code_interpreter_call"))
_NOT_A_FIELD = frozenset(("input", "previous_response_id", "stream", "type", "stream_id", "generate"))
_encode = msgspec.json.Encoder(order="deterministic").encode


class ErrorEventError(Exception):
    """A stream ended in an event of an error, which the SDK does not raise."""


ERRORS = (APIError, ErrorEventError, httpx2.TransportError, json.JSONDecodeError)
"""What the SDK raises; the last ones where a stream over HTTP breaks."""


class WrongContextError(AssertionError):
    """The context of a response is not the history of its caller."""


class ForeignItemError(AssertionError):
    """A hidden item in a context is another caller's."""


def thinking(prompt: Prompt) -> Iterator[Step]:
    """Think, and ask for the clock if the request offers it; else one of few words."""
    yield Reason(["Hm."])
    if prompt.callable_tools and prompt.user_text == "the clock" and not prompt.outputs:
        yield Call("clock", "{}")
    else:
        yield Say([f"It is {prompt.outputs[-1][1]}." if prompt.outputs else "Done."])


@dataclass
class Caller:
    """One caller, and what it holds.

    Attributes:
        name: its name, which no request shows.
        fields: the fields of its requests.
        keeps: how it keeps outputs: all items, messages and calls without ids, or words alone.
        said: its history.
        last: the id of its last response, if the history ends with it.
        got: the responses to its requests.
        known: reasoning of others that it got, made from equal items under equal fields.
    """

    name: str
    fields: JSON
    keeps: str
    said: list[JSON] = field(default_factory=list)
    last: str | None = None
    got: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    @property
    def owed(self) -> list[str]:
        """The calls that it has to answer."""
        answered = {item["call_id"] for item in self.said if item.get("type") == "function_call_output"}
        calls = [item["call_id"] for item in self.said if item.get("type") == "function_call"]
        return [call_id for call_id in calls if call_id not in answered]


@dataclass(frozen=True)
class Origin:
    """What a hidden item was made of.

    Attributes:
        response_id: the response that has it.
        fields: a digest of the fields of the request.
        before: a digest of the items before it, without reasoning.
    """

    response_id: str
    fields: bytes
    before: bytes


class Origins:
    """The origins of all hidden items of an emulator, by their ids and encrypted content.

    The records alone are used: callers do not know of responses that were lost on the way.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._found: dict[str, Origin] = {}

    def note(self, record: ResponseRecord, fields: bytes, before: bytes) -> None:
        """Note the hidden items of a response."""
        for item in record.output:
            if item["type"] == "reasoning" or item["type"] in HOSTED_ITEMS:
                for name in names_of(item):
                    self._found[name] = Origin(record.id, fields, before)
            if item["type"] != "reasoning":
                before = after(before, item)

    def of(self, item: JSON) -> Origin:
        """The origin of a hidden item."""
        names = names_of(item)
        if not any(name in self._found for name in names):
            self._note_all()
        return next(self._found[name] for name in names if name in self._found)

    def _note_all(self) -> None:
        for request in self._emulator.requests:
            if request.response_id is not None and request.body is not None:
                record = self._emulator.responses[request.response_id]
                self.note(record, digest_of_fields(request.body), digests(record.effective_context)[-1])


def names_of(item: JSON) -> list[str]:
    """The id and the encrypted content of an item."""
    return [value for value in (item.get("id"), item.get("encrypted_content")) if value]


def digest_of_fields(body: JSON) -> bytes:
    """A digest of the fields of a request, without its input."""
    meant = {name: body[name] for name in body if name not in _NOT_A_FIELD and body[name] is not None}
    return blake2b(_encode(meant), digest_size=16).digest()


def after(before: bytes, item: JSON) -> bytes:
    """The digest of the items up to this one."""
    return blake2b(_encode(meaning([item])), digest_size=16, key=before).digest()


def meaning(items: Sequence[JSON]) -> list[JSON]:
    """The items without ids and reasoning, and without nulls, which a caller may leave out."""
    return [{name: value for name, value in item.items() if value is not None} for item in normalised(items)]


def digests(items: Sequence[JSON]) -> list[bytes]:
    """The digests of the items before each position, and of all; reasoning does not count."""
    found = [b""]
    for item in items:
        found.append(found[-1] if item.get("type") == "reasoning" else after(found[-1], item))
    return found


class Crowd:
    """Callers of one service.

    Args:
        emulator: the service.
        client: the SDK, which all callers share.
        dice: the source of randomness.

    Attributes:
        counts: the numbers of turns, by mode or by outcome.
        failures: the exceptions of `check`, and others that no turn should raise.
        patience_s: the time in which a turn must end.
    """

    def __init__(self, emulator: Emulator, client: AsyncOpenAI, dice: random.Random) -> None:
        self.emulator = emulator
        self.client = client
        self.dice = dice
        self.counts: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self.patience_s = PATIENCE_S
        self._origins = Origins(emulator)
        self._joined = 0
        emulator.add_model("thinking", thinking)
        self.callers: list[Caller] = [
            self._new_caller(number >= KEYLESS) for number in range(KEYLESS + KEYED)
        ]

    def _new_caller(self, has_key: bool) -> Caller:
        dice = self.dice
        self._joined += 1
        fields: JSON = {"model": "thinking", "store": dice.choice((True, False))}
        roll = dice.random()
        if roll < 0.3:
            fields["tools"] = [CLOCK]
        elif roll < 0.6:
            fields |= {"model": "hosted", "tools": dice.choice(HOSTED_TOOLS)}
        elif roll < 0.7:
            fields["model"] = "echo"
        if dice.random() < 0.3:
            fields["instructions"] = dice.choice(INSTRUCTIONS)
        if dice.random() < 0.3:
            fields["user"] = dice.choice(("ann", "bob"))
        if dice.random() < 0.5:
            fields["include"] = ["reasoning.encrypted_content"]
        if has_key:
            fields["extra_headers"] = {"x-trunkline-key": f"key {self._joined}"}
        return Caller(f"caller {self._joined}", fields, dice.choice(("all", "no ids", "words")))

    async def step(self) -> int:
        """Let some callers speak at the same time. Returns their number."""
        speakers = self.dice.sample(range(len(self.callers)), self.dice.randint(1, 10))
        turns = [asyncio.create_task(self._turn(number)) for number in speakers]
        _, endless = await asyncio.wait(turns, timeout=self.patience_s)
        for turn in endless:
            self.failures.append(TimeoutError(f"a turn has no end: {_where(turn)}"))
            turn.cancel()
        found = await asyncio.gather(*turns, return_exceptions=True)
        self.failures += [error for error in found if isinstance(error, Exception)]
        return len(speakers)

    async def _turn(self, number: int) -> None:
        """One turn: a request, its check, and the new history."""
        dice, caller = self.dice, self.callers[number]
        if dice.random() < 0.06:  # another caller comes
            caller = self.callers[number] = self._new_caller("extra_headers" in caller.fields)
            if dice.random() < 0.7:
                self._imitate(caller, dice.choice(self.callers))
        self._edit(caller)
        new = self._new_items(caller)
        whole = [*caller.said, *new]
        by_id = caller.last is not None and dice.random() < 0.4
        body: JSON = caller.fields | {"input": new if by_id else whole}
        if by_id:
            body["previous_response_id"] = caller.last
        fields = caller.fields
        try:
            response = await self._ask(caller, body, leaves=dice.random() < 0.08)
        except ERRORS as error:
            self.counts[type(error).__name__] += 1
            caller.last = None
            return
        if response is None:
            self.counts["left"] += 1
            caller.last = None
            return
        caller.got.add(response.id)
        record = self.emulator.responses[response.id]
        if record.transport == "http" and len(response.output) < len(record.output):
            self.counts["incomplete"] += 1  # as the service sent it
            caller.last = None
            return
        named = body.get("previous_response_id")
        if named is not None and response.previous_response_id is None and self._may_be_ignored(record):
            self.counts["ignored"] += 1  # the service says so
            caller.last = None
            return
        if record.transport == "websocket":  # else it was sent in full
            assert response.previous_response_id == named
        self.counts["delta" if record.previous_response_id else "full"] += 1
        self.check(caller, record, whole, fields)
        caller.said = [*whole, *self._kept(caller, response.output)]
        caller.last = response.id if dice.random() < 0.8 else None

    def _may_be_ignored(self, record: ResponseRecord) -> bool:
        """Whether the service may have ignored the ``previous_response_id`` of a request."""
        fired = self.emulator.faults.fired
        return record.previous_response_id is None and any(each.action == "ignore_parent" for each in fired)

    def _imitate(self, caller: Caller, other: Caller) -> None:
        """Guess what another caller holds: its words, without its ids, and mostly its fields."""
        if "extra_headers" not in caller.fields and self.dice.random() < 0.8:
            caller.fields = {name: other.fields[name] for name in other.fields if name != "extra_headers"}
        messages = [item for item in other.said if item.get("type", "message") == "message"]
        caller.said = [item if item["role"] == "user" else in_words(item) for item in messages]

    def _edit(self, caller: Caller) -> None:
        """Sometimes drop the end of the history, or change the instructions."""
        dice = self.dice
        if dice.random() < 0.1 and caller.said:
            caller.said, caller.last = caller.said[: dice.randrange(len(caller.said))], None
            while caller.said and caller.said[-1].get("type") in ("function_call", "reasoning"):
                caller.said.pop()
        if dice.random() < 0.04:
            caller.fields = caller.fields | {"instructions": dice.choice(INSTRUCTIONS)}

    def _new_items(self, caller: Caller) -> list[JSON]:
        outputs: list[JSON] = [
            {"type": "function_call_output", "call_id": call_id, "output": self.dice.choice(TIMES)}
            for call_id in caller.owed
        ]
        return outputs or [user(self.dice.choice(WORDS))]

    async def _ask(self, caller: Caller, body: JSON, *, leaves: bool) -> Any:
        """The response; ``None`` if its stream was left."""
        if not leaves and self.dice.random() < 0.5:
            raw = await self.client.responses.with_raw_response.create(**body)
            whole = raw.parse()
            if raw.headers.get("x-trunkline-transport") == "websocket" and whole.status != "failed":
                check_final(whole.to_dict(), self.emulator.responses[whole.id])
            return whole
        stream: Any = await self.client.responses.create(**body, stream=True)
        # Over HTTP the SDK gets what the service sends.
        is_checked = stream.response.headers.get("x-trunkline-transport") == "websocket"
        received = Received()
        async with stream:
            async for event in stream:
                if is_checked:
                    received.note(event.to_dict())
                if event.type == "response.created":
                    # A turn that is left, or lost, may have ended: then it can be continued.
                    caller.got.add(event.response.id)
                elif event.type == "response.completed":
                    if is_checked:
                        received.check(self.emulator.responses[event.response.id])
                    return event.response
                elif leaves and event.type == "response.output_text.delta":
                    return None
                elif event.type in ("error", "response.failed"):
                    raise ErrorEventError(event.type)
        if is_checked:
            raise AssertionError("the stream ended without a response")
        raise ErrorEventError("the stream ended without a response")

    def _kept(self, caller: Caller, output: list[Any]) -> list[JSON]:
        """The output as the caller keeps it."""
        items: list[JSON] = [item.model_dump(exclude_none=True) for item in output]
        if caller.keeps == "all":
            return [item for item in items if item["type"] != "reasoning" or item.get("encrypted_content")]
        held = [item for item in items if item["type"] in ("message", "function_call")]
        if caller.keeps == "no ids":
            return [{name: value for name, value in item.items() if name != "id"} for item in held]
        return [item if item["type"] == "function_call" else in_words(item) for item in held]

    def check(self, caller: Caller, record: ResponseRecord, whole: list[JSON], fields: JSON) -> None:
        """Check the context of a response.

        Raises:
            WrongContextError: it is not the history of the caller.
            ForeignItemError: it holds what the caller may not know.
        """
        seen = record.effective_context
        sent = {name for item in whole for name in names_of(item)}
        hidden = [
            index
            for index, item in enumerate(seen)
            if item.get("type") in HOSTED_ITEMS and sent.isdisjoint(names_of(item))
        ]
        visible = [item for index, item in enumerate(seen) if index not in hidden] if hidden else seen
        if meaning(visible) != meaning(whole):
            caller.said, caller.last = [], None
            difference = _difference(meaning(visible), meaning(whole))
            raise WrongContextError(f"{caller.name} got a wrong context\n{difference}")
        before = digests(seen)
        digest = digest_of_fields({name: fields[name] for name in fields if name != "extra_headers"})
        for index in hidden:
            if self._origins.of(seen[index]).response_id not in caller.got:
                raise ForeignItemError(f"{caller.name} got a result of another caller")
        for index, item in enumerate(seen):
            if item.get("type") == "reasoning" and sent.isdisjoint(names_of(item)):
                origin = self._origins.of(item)
                if origin.before != before[index]:
                    raise ForeignItemError(f"{caller.name} got reasoning made from other items")
                if origin.response_id in caller.got | caller.known:
                    continue
                if origin.fields != digest:
                    raise ForeignItemError(f"{caller.name} got reasoning made under other fields")
                # It remains in the conversation when its fields change.
                caller.known.add(origin.response_id)
        self._origins.note(record, digest, before[-1])


def _where(task: asyncio.Task[None]) -> str:
    """The places at which a task waits, the innermost last."""
    waits: Any = task.get_coro()
    places = []
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "ag_frame", None)
        if frame is not None:
            places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        waits = getattr(waits, "cr_await", None) or getattr(waits, "ag_await", None)
    return " > ".join(places)


def _difference(seen: list[JSON], held: list[JSON]) -> str:
    one, other = ([_encode(item).decode() for item in items] for items in (held, seen))
    return "\n".join(unified_diff(one, other, "held", "seen", lineterm="", n=1))


def in_words(message: JSON) -> JSON:
    """A message as its text."""
    if isinstance(message["content"], str):
        return message
    return {"role": "assistant", "content": "".join(part["text"] for part in message["content"])}


__all__ = ["Caller", "Crowd", "ForeignItemError", "WrongContextError"]
