"""The context that the model sees always equals the history that the application holds."""

from __future__ import annotations

import asyncio
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trunkline.emulator import QUIRKS

from ..talk import user
from .world import MODELS, Keeper, Speaker, Talker, Turn, World

TEXTS = st.sampled_from(
    ["hello", "what is the weather in Oslo", "weather in Oslo and Bergen, and the clock", ""]
)
# Not "proxy", whose silent sockets take until a deadline: the soak has it.
SERVERS = [
    (),
    (),
    *((name,) for name in QUIRKS if name != "proxy"),
    ("codex", "vllm"),
    ("proxy-limit", "xai"),
]
TOOLS_TEXT = "weather in Oslo and Bergen, and the clock"
TURNS = st.builds(
    Turn,
    model=st.sampled_from(MODELS),
    store=st.sampled_from([True, False, None]),
    leave_after=st.none() | st.integers(1, 8),
    heard=st.none() | st.integers(0, 12),
)


class Conversations(RuleBasedStateMachine):
    """Random concurrent conversations with one server, with random changes between turns."""

    @initialize(
        lanes=st.booleans(),
        pace=st.sampled_from([None, 3000.0]),
        forgets=st.booleans(),
        quirks=st.sampled_from(SERVERS),
    )
    def begin(self, lanes: bool, pace: float | None, forgets: bool, quirks: tuple[str, ...]) -> None:
        self.forgets = forgets
        self.runner = asyncio.Runner()
        self.world = World(lanes=lanes, tokens_per_second=pace, quirks=quirks)
        self.runner.run(self.world.open())
        self.keys = 0
        self.world.talker()

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.world.close())
            self.runner.close()

    def pick(self, number: int) -> Speaker:
        speakers = self.world.speakers
        return speakers[number % len(speakers)]

    def text(self, speaker: Speaker, text: str) -> str:
        return f"{speaker.token} {text}"

    @precondition(lambda self: len(self.world.speakers) < 6)
    @rule(kind=st.sampled_from(["talker", "keeper"]))
    def join(self, kind: str) -> None:
        self.runner.run(self._join(kind))

    async def _join(self, kind: str) -> None:
        getattr(self.world, kind)()

    @rule(number=st.integers(0, 5), text=TEXTS, turn=TURNS, arrangement=st.integers(0, 2))
    def speak(self, number: int, text: str, turn: Turn, arrangement: int) -> None:
        self.world.arrangement = arrangement
        speaker = self.pick(number)
        self.runner.run(speaker.speak(self.text(speaker, text), turn))

    @rule(number=st.integers(0, 5), rounds=st.integers(2, 4), store=st.sampled_from([True, False, None]))
    def speak_on(self, number: int, rounds: int, store: bool | None) -> None:
        speaker = self.pick(number)
        for _ in range(rounds):
            self.runner.run(speaker.speak(self.text(speaker, "go on"), Turn("reason", store)))

    @rule(number=st.integers(0, 5), store=st.sampled_from([True, False, None]))
    def resend(self, number: int, store: bool | None) -> None:
        """Send the same history again, without a new user message."""
        speaker = self.pick(number)
        if speaker.said and not speaker.owed:
            self.runner.run(speaker.speak("", Turn("echo", store), says_nothing=True))

    @rule(text=TEXTS, turn=TURNS)
    def all_speak(self, text: str, turn: Turn) -> None:
        turns = [(speaker, self.text(speaker, text), turn) for speaker in self.world.speakers]
        self.runner.run(self.world.all_speak(turns))

    @rule(number=st.integers(0, 5), turn=TURNS)
    def fork(self, number: int, turn: Turn) -> None:
        speaker = self.pick(number)
        if isinstance(speaker, Talker) and len(self.world.speakers) < 8:
            twin = speaker.fork()
            both = [
                (one, self.text(one, f"branch {index}"), turn) for index, one in enumerate((speaker, twin))
            ]
            self.runner.run(self.world.all_speak(both))

    @rule(number=st.integers(0, 5), back=st.integers(1, 4), turn=TURNS)
    def regenerate(self, number: int, back: int, turn: Turn) -> None:
        """Drop the history from one user message on, and send that message again."""
        speaker = self.pick(number)
        asked = [index for index, item in enumerate(speaker.said) if item.get("role") == "user"]
        if asked:
            at = asked[-min(back, len(asked))]
            text = speaker.said[at]["content"]
            speaker.rewrite(speaker.said[:at])
            self.runner.run(speaker.speak(text, turn))

    @rule(number=st.integers(0, 5), store=st.sampled_from([True, False, None]), turn=TURNS)
    def interrupt(self, number: int, store: bool | None, turn: Turn) -> None:
        """A complete answer, one that is interrupted while it streams, and the next without a wait."""
        speaker = self.pick(number)
        long = Turn("words-40", store, leave_after=turn.leave_after or 1, heard=turn.heard)
        for step in (Turn("echo", store), long, Turn("echo", store)):
            self.runner.run(speaker.speak(self.text(speaker, "on and on"), step))

    @rule(number=st.integers(0, 5), store=st.sampled_from([True, False, None]), arrangement=st.integers(0, 2))
    def use_tools(self, number: int, store: bool | None, arrangement: int) -> None:
        """Answer parallel tool calls."""
        self.world.arrangement = arrangement
        speaker = self.pick(number)
        for _ in range(3):
            self.runner.run(speaker.speak(self.text(speaker, TOOLS_TEXT), Turn("tools", store)))

    @rule(
        number=st.integers(0, 5),
        store=st.sampled_from([True, False, None]),
        leave_after=st.none() | st.integers(5, 12),
        heard=st.sampled_from([None, 0, 4]),
        arrangement=st.integers(0, 2),
    )
    def say_the_same_after_a_call(
        self, number: int, store: bool | None, leave_after: int | None, heard: int | None, arrangement: int
    ) -> None:
        """A message before calls, which may be unheard, and the same words after their outputs."""
        self.world.arrangement = arrangement
        speaker = self.pick(number)
        for turn in (
            Turn("interim", store, heard=heard),
            Turn("interim", store, leave_after=leave_after),
            Turn("interim", store),
        ):
            self.runner.run(speaker.speak(self.text(speaker, "go on"), turn))

    @rule(
        number=st.integers(0, 5),
        store=st.sampled_from([True, False, None]),
        arrangement=st.integers(0, 2),
        between=TURNS,
    )
    def answer_an_async_call_later(
        self, number: int, store: bool | None, arrangement: int, between: Turn
    ) -> None:
        """The call stays open over other turns."""
        self.world.arrangement = arrangement
        speaker = self.pick(number)
        for turn in (Turn("reporting", store), between, between):
            self.runner.run(speaker.speak(self.text(speaker, "go on"), turn))
        for _ in range(2):  # the first one may have to answer other calls
            self.runner.run(speaker.speak(self.text(speaker, "go on"), Turn("echo", store), reports=True))

    @rule(number=st.integers(0, 5), store=st.sampled_from([True, False, None]))
    def take_back_a_call(self, number: int, store: bool | None) -> None:
        """Remove one of several calls from the history and answer the others."""
        speaker = self.pick(number)
        self.runner.run(speaker.speak(self.text(speaker, TOOLS_TEXT), Turn("tools", store)))
        if len(speaker.owed) > 1:
            owed = speaker.owed[1:]
            gone = speaker.owed[0]["call_id"]
            speaker.rewrite([item for item in speaker.said if item.get("call_id") != gone])
            speaker.owed = owed
            self.runner.run(speaker.speak("", Turn("tools", store)))

    @rule(number=st.integers(0, 5), at=st.integers(0, 20), cut=st.integers(0, 10), turn=TURNS)
    def edit(self, number: int, at: int, cut: int, turn: Turn) -> None:
        """Change or shorten a message in place."""
        speaker = self.pick(number)
        messages = [item for item in speaker.said if "role" in item]
        if messages:
            message = messages[at % len(messages)]
            text = (
                message["content"] if isinstance(message["content"], str) else message["content"][0]["text"]
            )
            changed = text[:cut] + ("!" if message["role"] == "user" else "")
            if isinstance(message["content"], str):
                message["content"] = changed
            else:
                message["content"][0]["text"] = changed
            self._settle(speaker, speaker.said)
            self.runner.run(speaker.speak(self.text(speaker, "and now"), turn))

    @rule(number=st.integers(0, 5), at=st.integers(0, 20), turn=TURNS)
    def remove(self, number: int, at: int, turn: Turn) -> None:
        """Remove an item; a call is removed together with its output."""
        speaker = self.pick(number)
        if speaker.said:
            gone = speaker.said[at % len(speaker.said)]
            call_id = gone.get("call_id")
            left = [
                item
                for item in speaker.said
                if item is not gone and (call_id is None or item.get("call_id") != call_id)
            ]
            self._settle(speaker, left)
            self.runner.run(speaker.speak(self.text(speaker, "anyway"), turn))

    @rule(number=st.integers(0, 5))
    def insert(self, number: int) -> None:
        """Insert a message at the beginning."""
        speaker = self.pick(number)
        self._settle(speaker, [user(f"{speaker.token} by the way"), *speaker.said])
        self.runner.run(speaker.speak(self.text(speaker, "well"), Turn()))

    def _settle(self, speaker: Speaker, said: list[dict[str, object]]) -> None:
        """Rewrite the history without its unanswered calls."""
        owed = {call["call_id"] for call in speaker.owed}
        speaker.rewrite([item for item in said if item.get("call_id") not in owed])

    @rule()
    def restart(self) -> None:
        self.runner.run(self.world.restart())

    @rule(code=st.sampled_from([None, 1000, 1001, 1011]))
    def drop(self, code: int | None) -> None:
        self.runner.run(self.world.emulator.drop_connections(code))

    @precondition(lambda self: self.forgets)
    @rule()
    def evict(self) -> None:
        self.world.is_forgetful = True
        self.world.emulator.forget()

    @precondition(lambda self: self.forgets)
    @rule(number=st.integers(0, 50))
    def delete(self, number: int) -> None:
        ids = list(self.world.emulator.responses)
        if ids:
            self.world.is_forgetful = True
            self.world.emulator.delete(ids[number % len(ids)])

    @rule(text=TEXTS, turn=TURNS)
    def equal_words(self, text: str, turn: Turn) -> None:
        """Two owners send equal first messages; neither may continue the other's response."""
        self.keys += 1
        twins = [Keeper(self.world, f"<twins-{self.keys}>", key=f"twin-{self.keys}-{n}") for n in range(2)]
        shared = [(twin, f"{twin.token} {text}", Turn(turn.model, turn.store)) for twin in twins]
        self.runner.run(self.world.all_speak(shared))
        for twin in twins:
            self.runner.run(twin.speak(f"{twin.token} again", Turn(turn.model, turn.store)))

    @invariant()
    def connections_stay_within_their_limits(self) -> None:
        if not hasattr(self, "world"):
            return
        for connection in self.world.emulator.live_connections:
            assert connection.peak_in_flight <= (16 if self.world.lanes else 1)
            assert len(connection.lane_names) <= 32


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=int(os.environ.get("TRUNKLINE_PROMISE_EXAMPLES", "80")),
    stateful_step_count=25,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
