"""Speakers that share one client and one emulator, and check the model's context after every turn.

Each speaker keeps its own history, independently of the library. After a turn, the emulator's effective
context must equal that history. The streamed text must equal the text of the emulator's record of this
response. A parent that was named must be a response of the same speaker or of the one it was forked from, and
so must be each reasoning item in the context. The service decides where a steer goes: after a steered turn,
the speaker takes over the history of the library, which must have an accepted steer once, and a refused one
not.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trunkline
from trunkline.emulator import QUIRKS, Call, Emulator, Prompt, ResponseRecord, Say, Step, words
from trunkline.emulator.quirks.deviation import Deviation

from ..gateway.running import running
from ..networks.link import Link
from ..talk import assistant, user
from .canonical import canonical, text_of

JSON = dict[str, Any]
S = TypeVar("S", bound="Speaker")

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CLOCK = {**WEATHER, "name": "get_clock", "description": "The clock of a city."}
REPORT = {"type": "function", "name": "report", "parameters": {"type": "object"}, "async": True}
SEARCH = {"type": "web_search"}
TOOLS: list[JSON] = [WEATHER, CLOCK, REPORT, SEARCH]
MODELS = ("echo", "reason", "messages-2", "messages-3", "mixed", "tools", "hosted")


def interim(prompt: Prompt) -> list[Step]:
    """A message and a call; after the output of the call, the same message."""
    said = Say(words("One moment, please."))
    return [said] if prompt.outputs else [said, Call("get_weather", '{"city": "Oslo"}')]


def reporting(prompt: Prompt) -> list[Step]:
    """A message and a call of an async tool; after the output of the call, another message."""
    if prompt.outputs:
        return [Say(words(f"The report says {prompt.outputs[-1][1]}."))]
    return [Say(words("I begin.")), Call("report", "{}"), Call("get_clock", '{"city": "Oslo"}')]


@dataclass
class Turn:
    """Parameters of one turn.

    Attributes:
        model: the emulator's model.
        store: as in the request.
        leave_after: number of events to read before leaving the stream; ``None`` reads to the end.
        heard: number of characters to report as heard; ``None`` does not call ``heard``.
        steer_after: number of events to read before steering the answer; ``None`` does not steer.
    """

    model: str = "echo"
    store: bool | None = None
    leave_after: int | None = None
    heard: int | None = None
    steer_after: int | None = None


@dataclass
class Steered:
    """A steer, and its outcome: ``accepted``, ``refused`` or ``unknown``."""

    text: str
    state: str = "unknown"


@dataclass
class Speaker:
    """One conversation, with a history that is kept independently of the library."""

    world: World
    token: str
    said: list[JSON] = field(default_factory=list)
    responses: set[str] = field(default_factory=set)
    owed: list[JSON] = field(default_factory=list)
    lead: list[JSON] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    """Ids and encrypted contents of the reasoning in its responses."""
    keeps_order = True

    @property
    def end_user(self) -> str:
        """Its name at the service. The emulator puts it into hidden items: the calls of hosted tools."""
        return self.token

    def stream(self, new: Sequence[JSON], turn: Turn) -> trunkline.ResponseStream:
        raise NotImplementedError

    def after(self, stream: trunkline.ResponseStream, new: Sequence[JSON], text: str, turn: Turn) -> None:
        raise NotImplementedError

    async def steer(self, stream: trunkline.ResponseStream) -> None:
        """Add a user message to the answer."""
        raise NotImplementedError

    def rewrite(self, said: list[JSON]) -> None:
        """Replace the history."""
        raise NotImplementedError

    def save(self) -> JSON:
        """What another process needs to continue."""
        raise NotImplementedError

    def restore(self, saved: JSON) -> None:
        """Continue in the client that the world has now."""
        raise NotImplementedError

    async def speak(
        self, text: str, turn: Turn, *, says_nothing: bool = False, reports: bool = False
    ) -> None:
        """Take a turn.

        Args:
            text: the user message, unless a call has to be answered first.
            says_nothing: send no new item instead.
            reports: answer the oldest open call of the async tool instead.
        """
        if self.owed:
            new = self.answers(self.owed)
        elif reports and (begun := self.begun()):
            new = self.answers(begun[:1])
        else:
            new = [] if says_nothing else [user(text)]
        stream = self.stream(new, turn)
        try:
            whole = await self._read(stream, turn)
        except trunkline.TurnError as error:
            if error.output_seen:
                self.after(stream, new, stream.received_text, Turn(steer_after=turn.steer_after))
            raise
        received = stream.received_text
        if not self.world.is_forgetful:
            assert trunkline.Cause.PARENT_LOST not in stream.metrics.recoveries, (
                "a parent that the service does not have was named"
            )
        if whole:
            self.check(stream, new, received)
        self.after(stream, new, received, turn)

    async def _read(self, stream: trunkline.ResponseStream, turn: Turn) -> bool:
        """Read the stream; return whether it was read to its end.

        A stream holds exactly one response, and one more for a steer.
        """
        taken, beginnings = 0, 0
        async with stream:
            async for event in stream:
                beginnings += isinstance(event, trunkline.events.ResponseCreated)
                allowed = 1 if turn.steer_after is None else 2
                assert beginnings <= allowed, "a second response began in the same stream"
                taken += 1
                if taken == turn.steer_after:
                    await self.steer(stream)
                if turn.leave_after is not None and taken >= turn.leave_after:
                    return stream.is_ended  # the last event read may have been the final one
        return True

    def answers(self, calls: Sequence[JSON]) -> list[JSON]:
        return [
            {"type": "function_call_output", "call_id": call["call_id"], "output": f"{self.token} sunny"}
            for call in calls
        ]

    def begun(self) -> list[JSON]:
        """The open calls of the async tool."""
        return [call for call in _open_calls(self.said) if call["name"] == "report"]

    def check(self, stream: trunkline.ResponseStream, new: Sequence[JSON], received: str) -> None:
        record = self.world.record_of(stream.response)
        self._check_context(record.effective_context, [*self.lead, *self.said, *new])
        texts = received, text_of(record.output), stream.response.output_text
        assert len(set(texts)) == 1, f"the streamed text, the server's and the response's differ: {texts}"
        assert record.input, "the request has no input"
        parent = record.previous_response_id
        if self.world.has_gateway:  # it continues what it knows, also of answers that did not arrive
            own = parent is None or self.world.is_of(self.token, parent)
            assert own, "the parent is a response of another speaker"
        else:
            assert parent is None or parent in self.responses, "the parent is a response of another speaker"
            assert (stream.metrics.mode == "delta") == (parent is not None)
        self._check_own(record)
        self.responses.add(stream.response.id)  # what it names; the record may have an id of its own

    def _check_context(self, seen: Sequence[JSON], held: Sequence[JSON]) -> None:
        server, application = (canonical(items, ordered=self.keeps_order) for items in (seen, held))
        assert server == application, f"the model saw {server}\nand the application holds {application}"

    def _check_own(self, record: ResponseRecord) -> None:
        """Check that nothing in the context of a response is another speaker's."""
        foreign = {other.token for other in self.world.speakers if other.token != self.token}
        shown = json.dumps(record.effective_context)
        assert not any(token in shown for token in foreign), "text of another speaker is in the context"
        found_for = set(re.findall(r'found for ([^"]+)', shown))
        assert found_for <= {self.end_user}, "what a hosted tool found for another speaker is in the context"
        thoughts = [item for item in record.effective_context if item.get("type") == "reasoning"]
        own = all(
            self.hidden.intersection(_tags(item))
            or (self.world.has_gateway and self.world.thought(self.token, item))
            for item in thoughts
        )
        assert own, "reasoning of another speaker is in the context"
        self.hidden.update(*(_tags(item) for item in record.output if item["type"] == "reasoning"))


@dataclass
class Talker(Speaker):
    """A speaker that uses a `Conversation`."""

    chat: trunkline.Conversation = None  # type: ignore[assignment]
    steered: Steered | None = None
    """The outcome of the steer of the present turn."""

    def stream(self, new: Sequence[JSON], turn: Turn) -> trunkline.ResponseStream:
        self.steered = None
        return self.chat.send(new, model=turn.model, store=turn.store)

    async def steer(self, stream: trunkline.ResponseStream) -> None:
        text = f"{self.token} steer {next(self.world.numbers)}"
        self.steered = Steered(text)
        try:
            await stream.steer(text)
        except (trunkline.SteerRefused, trunkline.UsageError) as refused:
            is_known = getattr(refused, "code", None) != "not_acknowledged"
            self.steered.state = "refused" if is_known else "unknown"
        except trunkline.TurnError:
            pass
        else:
            self.steered.state = "accepted"
        self.world.steers[self.steered.state] += 1

    def check(self, stream: trunkline.ResponseStream, new: Sequence[JSON], received: str) -> None:
        if self.steered is None or self.steered.state == "refused":
            super().check(stream, new, received)
            return
        if self.steered.state == "unknown":
            return
        record = self.world.record_of(stream.response)
        self._check_context([*record.effective_context, *record.output], [*self.lead, *self.chat.items])
        self._check_own(record)
        self.responses.add(stream.response.id)

    def _after_steered(self, stream: trunkline.ResponseStream, new: Sequence[JSON], steered: Steered) -> None:
        before, held = canonical(self.said), canonical(self.chat.items)
        if len(held) == len(before) and not stream.received_text:
            self.said = [*self.chat.items]
            assert held == before, f"the history was {before}, and is {held} without any answer"
            return
        turn = canonical([*self.said, *new])
        assert held[: len(turn)] == turn, f"the history has {held} instead of {turn}"
        users = [form[1] for form in held[len(turn) :] if isinstance(form, tuple) and form[0] == "user"]
        state = "refused" if steered.text in stream.returned_steers else steered.state
        outcomes: dict[str, list[list[str]]] = {
            "accepted": [[steered.text]],
            "refused": [[]],
            "unknown": [[], [steered.text]],
        }
        allowed = outcomes[state]
        assert users in allowed, f"the history has {users} of a steer that was {state}"
        self.said = [item for item in self.chat.items if item.get("type") != "reasoning"]
        self.owed = _owed(_open_calls(self.said))

    def after(self, stream: trunkline.ResponseStream, new: Sequence[JSON], text: str, turn: Turn) -> None:
        if self.steered is not None:
            self._after_steered(stream, new, self.steered)
            return
        self.said += new
        try:
            output = [item for item in stream.response.output if item["type"] != "reasoning"]
        except trunkline.UsageError:
            output = [assistant(text)] if text else []
        if turn.heard is not None:
            heard = text[: turn.heard]
            stream.heard(heard)
            output = _as_heard(output, heard)
        self.said += output
        self.owed = _owed(output)
        assert canonical(self.chat.items) == canonical(self.said)

    def fork(self) -> Talker:
        twin = Talker(
            self.world,
            self.token,
            deepcopy(self.said),
            set(self.responses),
            list(self.owed),
            self.lead,
            set(self.hidden),
            chat=self.chat.fork(),
        )
        self.world.speakers.append(twin)
        return twin

    def rewrite(self, said: list[JSON]) -> None:
        self.said = said
        self.owed = []
        self.chat.replace(said)

    def save(self) -> JSON:
        return self.chat.save()

    def restore(self, saved: JSON) -> None:
        self.chat = self.world.client.conversation(saved=saved)
        assert canonical(self.chat.items) == canonical(self.said)


@dataclass
class Keeper(Speaker):
    """A speaker that sends its own history of plain lists and dicts, and changes them in place."""

    key: str = ""
    keeps_order = False

    @property
    def end_user(self) -> str:
        return self.key

    def stream(self, new: Sequence[JSON], turn: Turn) -> trunkline.ResponseStream:
        return self.world.client.stream(
            model=turn.model,
            input=[*self.said, *new],
            key=self.key,
            tools=TOOLS,
            safety_identifier=self.end_user,
            store=turn.store,
            include=["reasoning.encrypted_content"] if turn.store is False else None,
        )

    def after(self, stream: trunkline.ResponseStream, new: Sequence[JSON], text: str, turn: Turn) -> None:
        self.said += new
        try:
            output = list(stream.response.output)
        except trunkline.UsageError:
            output = [assistant(text)] if text else []
        if turn.heard is not None:
            output = _as_heard(output, text[: turn.heard])
        self.said += self.world.arranged(output)
        self.owed = _owed(output)

    def rewrite(self, said: list[JSON]) -> None:
        self.said[:] = said
        self.owed = []

    def save(self) -> JSON:
        return self.world.client.save(self.key)

    def restore(self, saved: JSON) -> None:
        self.world.client.restore(self.key, saved)


def _open_calls(items: Sequence[JSON]) -> list[JSON]:
    """The calls without an output."""
    answered = {item["call_id"] for item in items if item.get("type") == "function_call_output"}
    calls = [item for item in items if item.get("type") == "function_call"]
    return [call for call in calls if call["call_id"] not in answered]


def _owed(output: Sequence[JSON]) -> list[JSON]:
    """The calls that the next turn has to answer: those of async tools may stay open."""
    return [item for item in output if item.get("type") == "function_call" and item["name"] != "report"]


def _tags(reasoning: JSON) -> set[str]:
    """What tells whose a reasoning item is: its id, or else its encrypted content, which has the id."""
    return {reasoning[name] for name in ("id", "encrypted_content") if reasoning.get(name)}


def _as_heard(output: Sequence[JSON], heard: str) -> list[JSON]:
    """The output with its text replaced by the heard text, at the place of the first message."""
    kept: list[JSON] = []
    said = [assistant(heard)] if heard else []
    for item in output:
        if item.get("type", "message") == "message":
            kept += said
            said = []
        elif item["type"] != "reasoning":
            kept.append(item)
    return kept + said


def _rewritten(item: JSON) -> JSON:
    """A call as a framework holds it: its arguments were decoded and encoded."""
    if item["type"] != "function_call":
        return item
    return {**item, "arguments": json.dumps(json.loads(item["arguments"]), indent=1, sort_keys=True)}


class World:
    """One emulator, one client and all speakers.

    Args:
        lanes: the client uses lanes, if the server has them.
        tokens_per_second: the pace of the emulator.
        quirks: the servers as which the emulator deviates.
        has_link: the client reaches its server by a `Link`, which can fail.
        has_gateway: that server is a gateway in front of the emulator.
        settings: further arguments of the client.

    Attributes:
        numbers: numbers that were not used before, for texts.
        steers: steers by their outcome.
    """

    def __init__(
        self,
        *,
        lanes: bool = True,
        tokens_per_second: float | None = None,
        quirks: Sequence[str] = (),
        has_link: bool = False,
        has_gateway: bool = False,
        **settings: Any,
    ) -> None:
        self.settings = settings
        self.link: Link | None = None
        self._has_link = has_link
        self.has_gateway = has_gateway
        self._opened = AsyncExitStack()
        self._base_url = ""
        self._thinkers: dict[str, ResponseRecord] = {}
        self.emulator = Emulator(tokens_per_second=tokens_per_second, quirks=quirks)
        self.emulator.add_model("interim", interim)
        self.emulator.add_model("reporting", reporting)
        deviations = frozenset().union(*(QUIRKS[name] for name in quirks))
        self.quirks = tuple(quirks)
        self.lanes = lanes and not deviations & {Deviation.LANES_IGNORED, Deviation.HTTP_ONLY}
        self._one_id = Deviation.ONE_RESPONSE_ID in deviations
        self.speakers: list[Speaker] = []
        self.arrangement = 0
        self.is_forgetful = False
        self.numbers = itertools.count()
        self.steers: Counter[str] = Counter()
        self.client: trunkline.Client

    async def open(self) -> None:
        opened = self._opened
        await opened.enter_async_context(self.emulator)
        self._base_url = self.emulator.base_url
        if self.has_gateway:
            upstream = {"openai": {"base_url": self._base_url, "lanes": self.lanes}}
            gateway = await opened.enter_async_context(running(self.emulator, upstream=upstream))
            self._base_url = gateway.base_url
        if self._has_link:
            self.link = await opened.enter_async_context(Link(self._base_url))
            self._base_url = self.link.base_url
        self.client = self._new_client()

    def _new_client(self) -> trunkline.Client:
        return trunkline.Client(
            base_url=self._base_url, api_key=self.emulator.api_key, lanes=self.lanes, **self.settings
        )

    async def restart(self) -> None:
        """Save all speakers, and let them continue as in another process: with another client."""
        saved = [json.dumps(speaker.save()) for speaker in self.speakers]
        await self.client.close()
        self.client = self._new_client()
        for speaker, value in zip(self.speakers, saved, strict=True):
            speaker.restore(json.loads(value))

    async def close(self) -> None:
        await self.client.close()
        await self._opened.aclose()

    def record_of(self, response: trunkline.Response) -> ResponseRecord:
        """The emulator's record of a response that has output."""
        if not self._one_id:
            return self.emulator.responses[response.id]
        item = response.output[0]["id"]
        return next(
            record
            for record in reversed([*self.emulator.responses.values()])
            if any(each["id"] == item for each in record.output)
        )

    def is_of(self, token: str, response_id: str) -> bool:
        """Whether a response is of the conversation with a token, by the emulator's record."""
        record = self.emulator.responses.get(response_id)
        return record is None or token in json.dumps(record.effective_context)

    def thought(self, token: str, reasoning: JSON) -> bool:
        """Whether a reasoning item is of the conversation with a token, by the emulator's records."""
        for record in list(self.emulator.responses.values()):
            self._thinkers |= {
                tag: record for item in record.output if item["type"] == "reasoning" for tag in _tags(item)
            }
        record = next(self._thinkers[tag] for tag in _tags(reasoning) if tag in self._thinkers)
        return token in json.dumps(record.effective_context)

    def talker(self) -> Talker:
        """A speaker with a conversation; every other one has instructions, as a message of the context."""
        token = self._token()
        lead = [{"role": "developer", "content": f"{token} is brief."}] if len(self.speakers) % 2 else []
        chat = self.client.conversation(
            model="echo",
            tools=TOOLS,
            safety_identifier=token,
            instructions=lead[0]["content"] if lead else None,
            instructions_placement="message",
        )
        return self._joined(Talker(self, token, lead=lead, chat=chat))

    def keeper(self) -> Keeper:
        token = self._token()
        return self._joined(Keeper(self, token, key=token))

    def _joined(self, speaker: S) -> S:
        self.speakers.append(speaker)
        return speaker

    def _token(self) -> str:
        return f"<{next(self.numbers)}>"

    def arranged(self, output: list[JSON]) -> list[JSON]:
        """The output as an application may hold it: joined, reordered, written anew, with reasoning."""
        held = [
            item
            for item in output
            if item.get("type") != "reasoning" or (self.arrangement == 0 and item.get("encrypted_content"))
        ]
        if self.arrangement == 2:
            text = text_of(item for item in held if item.get("type", "message") == "message")
            calls = [_rewritten(item) for item in held if item.get("type", "message") != "message"]
            return [*([assistant(text)] if text else []), *reversed(calls)]
        return held

    async def all_speak(self, turns: Sequence[tuple[Speaker, str, Turn]]) -> None:
        """Take several turns concurrently."""
        await asyncio.gather(*(speaker.speak(text, turn) for speaker, text, turn in turns))
