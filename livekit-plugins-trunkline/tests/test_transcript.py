"""Converting the end of a context gives what converting all of it gives."""

from __future__ import annotations

import random
from typing import Any

import pytest
from livekit.agents.llm import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    CacheBreakpoint,
    ChatContext,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)
from livekit.agents.llm.chat_context import DYNAMIC_INSTRUCTIONS_MESSAGE_ID, Instructions
from livekit.plugins.trunkline.transcript import Transcript


def whole(items: list[ChatItem], *, breakpoints: bool = False) -> list[dict[str, Any]]:
    converted, _ = ChatContext(list(items)).to_provider_format(
        "openai.responses", prompt_cache_breakpoints=breakpoints
    )
    return converted


WAYS = ("edit", "replace", "remove", "move", "insert", "cut", "output", "dynamic", "other")


class Scribe:
    """Writes a context as sessions do, and worse."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.items: list[ChatItem] = []
        self.late: list[ChatItem] = []
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def message(self, role: Any, text: str, **options: Any) -> ChatMessage:
        return ChatMessage(role=role, content=[text], id=options.pop("id", self.name("item")), **options)

    def turn(self) -> None:
        self.items.append(self.message("user", self.name("words")))
        answer = self.name("item")
        if self.random.random() < 0.6:
            self.items.append(self.message("assistant", self.name("words"), id=answer))
        calls = [
            FunctionCall(id=f"{answer}/fnc_{number}", call_id=self.name("call"), name="f", arguments="{}")
            for number in range(self.random.choice((0, 0, 1, 2)))
        ]
        outputs = [self.output(call) for call in calls]
        if outputs and self.random.random() < 0.2:
            self.late.append(outputs.pop())
        made: list[ChatItem] = [*calls, *outputs]
        if self.random.random() < 0.2:
            self.random.shuffle(made)
        self.items += made
        if self.late and self.random.random() < 0.3:
            self.items.append(self.late.pop())
        if calls and self.random.random() < 0.1:
            self.late.append(
                FunctionCall(id=f"{answer}/late", call_id=calls[0].call_id, name="g", arguments="")
            )

    def output(self, call: FunctionCall) -> FunctionCallOutput:
        return FunctionCallOutput(id=self.name("item"), call_id=call.call_id, output="x", is_error=False)

    def meddle(self) -> None:
        at = self.random.randrange(len(self.items))
        item = self.items[at]
        way = self.random.choice(
            ("edit", "replace", "remove", "move", "insert", "cut", "output", "dynamic", "other")
        )
        if way == "edit" and isinstance(item, ChatMessage):
            item.content[0] = self.name("edited")
        elif way == "replace" and isinstance(item, ChatMessage):
            item.content = [self.name("replaced"), self.name("more")]
        elif way == "remove":
            del self.items[at]
        elif way == "move":
            self.items.append(self.items.pop(at))
        elif way == "insert":
            self.items.insert(at, self.message("system", self.name("words")))
        elif way == "cut":
            del self.items[: at // 2]
        elif way == "output" and isinstance(item, FunctionCallOutput):
            item.output = self.name("output")
        elif way == "dynamic":
            self.items.insert(min(at, 1), self.message("system", "now", id=DYNAMIC_INSTRUCTIONS_MESSAGE_ID))
        elif way == "other":
            self.items.insert(at, AgentHandoff(new_agent_id="a", id=self.name("item")))


@pytest.mark.parametrize("breakpoints", [False, True])
@pytest.mark.parametrize("seed", range(150))
def test_it_is_what_livekit_would_have_made_of_all(seed: int, breakpoints: bool) -> None:
    scribe = Scribe(seed)
    scribe.items.append(scribe.message("system", "Be brief.", id="lk.agent_task.instructions"))
    transcript = Transcript(breakpoints=breakpoints)
    transcript.following(scribe.items)
    if seed % 5 == 0:
        scribe.items.append(scribe.message("system", "now", id=DYNAMIC_INSTRUCTIONS_MESSAGE_ID))
    for _ in range(12):
        scribe.turn()
        for _ in range(scribe.random.choice((0, 0, 0, 1, 2))):
            scribe.meddle()
        if len(scribe.items) < 2:
            continue
        assert transcript.following(scribe.items) == whole(scribe.items, breakpoints=breakpoints)


def test_only_the_end_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    scribe = Scribe(0)
    for _ in range(30):
        scribe.turn()
    transcript = Transcript(breakpoints=False)
    transcript.following(scribe.items)
    converted: list[int] = []
    convert = ChatContext.to_provider_format

    def counted(self: ChatContext, *args: Any, **options: Any) -> Any:
        converted.append(len(self.items))
        return convert(self, *args, **options)

    monkeypatch.setattr(ChatContext, "to_provider_format", counted)
    scribe.items.append(scribe.message("user", "one more"))
    transcript.following(scribe.items)
    transcript.following(scribe.items)
    assert converted == [1]


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAA"
    "AfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "system"},
        {"id": "item_9"},
        {"content": ["two"]},
        {"content": ["one", "two"]},
        {"content": [Instructions("one", text="two")]},
        {"content": []},
        {"extra": {"openai": {"phase": "commentary"}}},
    ],
    ids=str,
)
def test_each_change_in_place_is_noticed(change: dict[str, Any]) -> None:
    message = ChatMessage(id="item_1", role="assistant", content=["one"])
    items: list[ChatItem] = [message, ChatMessage(role="user", content=["go on"])]
    transcript = Transcript(breakpoints=False)
    transcript.following(items)
    for name, value in change.items():
        setattr(message, name, value)
    assert transcript.following(items) == whole(items)


def test_another_item_in_the_place_of_a_message_is_noticed() -> None:
    items: list[ChatItem] = [ChatMessage(id="item_1", role="user", content=["one"])]
    transcript = Transcript(breakpoints=False)
    transcript.following(items)
    items[0] = FunctionCallOutput(id="item_1", call_id="c", output="one", is_error=False)
    assert transcript.following(items) == whole(items)


def test_rich_contents_are_compared_by_what_is_sent() -> None:
    image = ImageContent(image=PIXEL)
    message = ChatMessage(role="user", content=["See", image, CacheBreakpoint(), AudioContent(frame=[])])
    items: list[ChatItem] = [message, AgentConfigUpdate(instructions="x")]
    transcript = Transcript(breakpoints=True)
    assert transcript.following(items) == whole(items, breakpoints=True)
    message.content[1] = ImageContent(image="https://x.example/a.png")
    assert transcript.following(items) == whole(items, breakpoints=True)
    message.content.remove(message.content[2])
    assert transcript.following(items) == whole(items, breakpoints=True)
    message.content.append("more")
    assert transcript.following(items) == whole(items, breakpoints=True)


def test_a_phase_that_changes_is_seen() -> None:
    message = ChatMessage(role="assistant", content=["x"])
    transcript = Transcript(breakpoints=False)
    assert "phase" not in transcript.following([message])[0]
    message.extra["openai"] = {"phase": "commentary"}
    assert transcript.following([message])[0]["phase"] == "commentary"
