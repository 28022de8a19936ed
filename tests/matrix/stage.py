"""One cell of the matrix: a conversation that meets the fault, a neighbour on its connection, and a visitor.

The model pauses before each word, counted from the word before. So the client has read all words before the
fault when it occurs, even on a busy machine.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import trunkline
from trunkline import Deadlines, Policy, PoolLimits, TurnError
from trunkline.emulator import Action, Call, Emulator, Fail, Fault, Fired, Prompt, Reason, Say, Step
from trunkline.emulator.pace import Pace
from trunkline.events import OutputTextDelta

from ..talk import Timing
from ..waiting import TIME_SCALE, soon, until
from .table import WITHOUT_PARENT, Cell, Phase, Way

JSON = dict[str, Any]
MODEL = "speaker"
NAMES = ACTOR, NEIGHBOUR, VISITOR = "actor", "neighbour", "visitor"
SILENCE_S = 0.8 * TIME_SCALE
"""The deadline of a silent phase. The next attempt has to meet it as well, on a busy machine too."""
PATIENCE_S = 5 * TIME_SCALE
WORDS = 8
WORDS_BEFORE = 4
"""Number of words of an answer, and of those before a fault in mid-answer."""

AT_DIAL = (Action.REFUSE_UPGRADE, Action.IGNORE_UPGRADE)
AT_REQUEST = (Action.REJECT, Action.FORGET, Action.SLOW_READ, Action.IGNORE_PARENT, Action.ONE_PLACE)
_PAUSE_S = 0.001
_TOOL = {
    "type": "function",
    "name": "look_up",
    "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
}
_SCENES = {Phase.REASONING: "think", Phase.CALL: "call"}
_DELTA = "response.output_text.delta"
_EVENTS: dict[Phase, dict[str, Any]] = {
    Phase.SENT: {"event": 1, "event_type": "response.created"},
    Phase.CREATED: {"event": 2, "event_type": "response.in_progress"},
    Phase.REASONING: {"event": 7, "event_type": "response.reasoning_summary_text.delta"},
    Phase.TEXT: {"event": 5 + WORDS_BEFORE, "event_type": _DELTA},
    Phase.CALL: {"event": 7, "event_type": "response.function_call_arguments.delta"},
    Phase.TERMINAL: {"event_type": "response.completed"},
    Phase.IDLE: {"event": 5 + WORDS_BEFORE, "event_type": _DELTA},
    Phase.ROTATING: {"event_type": _DELTA},
    Phase.REFUSED: {"event": 2, "event_type": "response.in_progress"},
    Phase.IGNORED: {"event": 2, "event_type": "response.in_progress"},
    Phase.ONE_PLACE: {"event_type": "response.completed"},
}
"""Event at which the fault occurs: of several events of one type, one that follows others already read."""


_BEFOREHAND = {
    Phase.REFUSED: Fault(Action.REJECT, status=404, message="Response with id=resp_x could not be found."),
    Phase.IGNORED: Fault(Action.IGNORE_PARENT),
    Phase.ONE_PLACE: Fault(Action.ONE_PLACE, place="final"),
}
"""Deviations of the server that precede the fault."""


def words(token: str, count: int) -> list[str]:
    return [f"{token}.{number} " for number in range(count)]


@cache
def _tls() -> ssl.SSLContext:
    """Shared by all cells, because loading the authorities takes longer than a cell."""
    return ssl.create_default_context()


class Unhurried(Pace):
    """A pause before each word, counted from the word before and not from the start of the answer."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "since", time.monotonic())

    def due_s(self, token: int) -> float:
        since: float = getattr(self, "since")  # noqa: B009 - the base class is frozen
        return time.monotonic() - since + _PAUSE_S


@dataclass
class Role:
    """One conversation, with a history that is kept independently of the library.

    Attributes:
        held: the history that an application holds.
        new: the input of the latest turn.
        stream: the stream of the latest turn.
        received: its text.
        error: its error; ``None`` if it ended with a response.
        took_s: its duration.
        began: set once it has text or has ended.
    """

    name: str
    chat: trunkline.Conversation
    held: list[JSON]
    new: list[JSON] = field(default_factory=list)
    received: str = ""
    error: TurnError | None = None
    took_s: float = 0.0
    turns: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    stream: trunkline.ResponseStream = field(init=False)

    @property
    def token(self) -> str:
        """Marker of this turn, in its input and in every word of its answer."""
        return f"{self.name}-{self.turns}"

    def begin(self, scene: str, deadlines: Deadlines | None = None) -> asyncio.Task[None]:
        """Start a turn in a task: the outputs of open calls, and a message that names the scene."""
        self.turns += 1
        self.new = [
            {"type": "function_call_output", "call_id": call_id, "output": "found"}
            for call_id in self._owed()
        ]
        self.new.append({"role": "user", "content": f"{scene} {self.token}"})
        self.received, self.error = "", None
        self.began.clear()
        self.stream = self.chat.send(self.new, deadlines=deadlines)
        return asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        started = time.monotonic()
        try:
            async with self.stream as stream:
                async for event in stream:
                    if isinstance(event, OutputTextDelta):
                        self.received += event.delta
                        self.began.set()
        except TurnError as error:
            self.error = error
        finally:
            self.took_s = time.monotonic() - started
            self.began.set()

    def settle(self) -> None:
        """Add the ended turn to the history, as an application would."""
        if self.error is None:
            output = [item for item in self.stream.response.output if item["type"] != "reasoning"]
        elif self.error.output_seen:
            output = [{"role": "assistant", "content": self.received}] if self.received else []
        else:
            return
        self.held += [*self.new, *output]

    def _owed(self) -> list[str]:
        answered = {item["call_id"] for item in self.held if item.get("type") == "function_call_output"}
        calls = [item["call_id"] for item in self.held if item.get("type") == "function_call"]
        return [call_id for call_id in calls if call_id not in answered]


class Stage:
    """An emulator, a client, and three conversations over it."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.emulator = Emulator()
        self.emulator.on_request.append(lambda _: self._on_request())
        self.emulator.add_model(MODEL, self._play)
        self._requests = 0
        self._is_slow = False
        self._silent: set[str] = set()
        self._failing: Fail | None = None
        self._timing = Timing()

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the emulator, the client and the conversations."""
        cell = self.cell
        await stack.enter_async_context(self.emulator)
        patience_s = SILENCE_S if cell.row.is_silence else PATIENCE_S
        self._impatient = Deadlines(patience_s, patience_s, patience_s, patience_s)
        options: dict[str, Any] = {"transport": "http" if cell.way is Way.HTTP else "auto"}
        self.client = trunkline.Client(
            base_url=self.emulator.base_url,
            api_key=self.emulator.api_key,
            lanes=cell.way is not Way.ONE,
            deadlines=Deadlines(patience_s, *[PATIENCE_S] * 3),
            policy=Policy(backoff_s=0.02),
            limits=PoolLimits(max_age_s=0, age_jitter_s=0, upkeep_s=Timing.UPKEEP_S),
            world=trunkline.World(call_later=self._timing.call_later),
            ssl_context=_tls(),
            **options | dict(cell.row.options),
        )
        stack.push_async_callback(self.client.close, 1.0)
        self.actor, self.neighbour, self.visitor = map(self._role, NAMES)

    @property
    def fired(self) -> list[Fired]:
        """The faults that have occurred."""
        return self.emulator.faults.fired

    @property
    def struck(self) -> str | None:
        """Connection of the first fault; ``None`` before, or where it had none."""
        actions = {fault.action for fault in self.cell.row.faults}
        struck = (fired.place.connection_id for fired in self.fired if fired.action in actions)
        return next(struck, None)

    @property
    def struck_is_open(self) -> bool:
        """Whether that connection is still open."""
        return self.struck in [connection.id for connection in self.emulator.live_connections]

    @property
    def has_struck(self) -> bool:
        """Whether every fault of the cell has occurred."""
        fired = {fired.action for fired in self.fired}
        return self._failing is None and fired >= {fault.action for fault in self.cell.row.faults}

    async def struck_turn(self) -> None:
        """Play the turn that meets the fault, and its surroundings."""
        if self.cell.phase is not Phase.DIALLING:
            await soon(self.actor.begin("say"))
            self.actor.settle()
        self._is_slow = True
        await self._struck_turn(self.cell.phase)
        self._is_slow = False

    async def _struck_turn(self, phase: Phase) -> None:
        if phase is Phase.DIALLING:
            await self._dial()
            return
        await self._talk()
        if phase is Phase.ROTATING:
            await self._rotate()
        elif phase is Phase.IDLE:
            self._lay()
            await soon(self.visitor.begin("say", self._impatient))
            await soon(self.actor.begin("say"))
        else:
            self._lay()
            await soon(self.actor.begin(_SCENES.get(phase, "say"), self._impatient))

    async def end_of_talk(self, role: Role) -> None:
        """Let an endless answer end, and wait for its turn."""
        self._silent.add(role.name)
        await soon(self.talking)

    async def _talk(self) -> None:
        """Start the neighbour's turn, on the same connection if lanes are on."""
        self.talking = self.neighbour.begin("talk")
        await soon(self.neighbour.began.wait())

    async def _dial(self) -> None:
        """The actor's turn dials; with lanes, the neighbour waits for the same connection."""
        self._lay()
        acting = self.actor.begin("say", self._impatient)
        if self.cell.way is Way.ONE:
            await until(lambda: bool(self.fired), "the fault occurs")
        await self._talk()
        await soon(acting)

    async def _rotate(self) -> None:
        """Replace the connection in the middle of an answer."""
        client = self.client
        acting = self.actor.begin("talk", self._impatient)
        await soon(self.actor.began.wait())
        if strikes_dial := any(fault.action in AT_DIAL for fault in self.cell.row.faults):
            self._lay()
            self._timing.keep_up()
            await until(lambda: client.metrics.failed_dials == 1, "the replacement fails")
            await until(lambda: not client.state().replacing, "the replacement is given up")
        self._timing.keep_up()
        await until(lambda: not client.state().replacing, "the replacement is ready")
        if not strikes_dial:
            self._lay(running=True)
            await until(lambda: bool(self.fired), "the fault occurs")
        if not self.cell.row.is_silence or strikes_dial:
            self._silent.add(ACTOR)
        await soon(acting)

    def _lay(self, *, running: bool = False) -> None:
        """Add the faults, for the next request or with ``running`` for the latest one."""
        phase, request = self.cell.phase, self._requests + (not running)
        if phase in _BEFOREHAND:
            self.emulator.faults.add(replace(_BEFOREHAND[phase], request=request))
            request += phase in WITHOUT_PARENT  # the fault concerns the attempt in full
        for fault in self.cell.row.faults:
            if fault.action in AT_DIAL:
                self.emulator.faults.add(fault)
            elif fault.action in AT_REQUEST or fault.event_type is not None:
                self.emulator.faults.add(replace(fault, request=request))
            else:
                self.emulator.faults.add(replace(fault, request=request, **_EVENTS[phase]))
        if (failing := self.cell.row.model) is not None:
            said = words(f"{ACTOR}-2", WORDS_BEFORE) if phase is Phase.TEXT else []
            self._failing = replace(failing, deltas=said)

    def _role(self, name: str) -> Role:
        past: list[JSON] = [
            {"role": "user", "content": f"hello from {name}"},
            {"role": "assistant", "content": "Hello."},
        ]
        chat = self.client.conversation(model=MODEL, items=past, tools=[_TOOL], store=self.cell.store)
        return Role(name, chat, past)

    def _on_request(self) -> None:
        self._requests += 1
        self.emulator.pace = Unhurried() if self._is_slow else Pace()

    def _play(self, prompt: Prompt) -> list[Step]:
        """The model plays the scene that the last message names."""
        scene, token = prompt.user_text.split()
        if self._failing is not None:
            failing, self._failing = self._failing, None
            return [failing]
        say = Say(words(token, WORDS))
        if scene == "think":
            return [Reason(words("thought", 6)), say]
        if scene == "call":
            return [Call("look_up", f'{{"what": "{token}{"x" * 70}"}}')]
        return [Say(self._endless(token)) if scene == "talk" else say]

    def _endless(self, token: str) -> Iterator[str]:
        name = token.partition("-")[0]
        for number, word in enumerate(words(token, 10_000)):
            yield word
            if name in self._silent and number >= WORDS:
                return
