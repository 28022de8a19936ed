"""Item ids say which requests belong together."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from livekit.agents.llm import AgentConfigUpdate, ChatContext, ChatItem
from livekit.plugins import trunkline
from livekit.plugins.trunkline import conversations as rules
from livekit.plugins.trunkline.conversations import Conversations
from trunkline.emulator import Emulator

from .talk import ask, context, responses


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def forgotten() -> list[Hashable]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(forgotten: list[Hashable], clock: Clock) -> Conversations:
    return Conversations(forgotten.append, breakpoints=False, clock=clock)


def longer(chat_ctx: ChatContext, *said: str) -> ChatContext:
    made = chat_ctx.copy()
    for index, text in enumerate(said):
        made.add_message(role="user" if index % 2 else "assistant", content=text)
    return made


def test_a_context_goes_on_with_its_conversation(known: Conversations) -> None:
    begun = context("Hello")
    first = known.of(begun.items)
    for _ in range(3):
        begun = longer(begun, "Yes", "And?")
        assert known.of(begun.items) is first
    assert len(known) == 1


def test_equal_words_are_not_the_same_items(known: Conversations) -> None:
    one, other = context("Hello"), context("Hello")
    first, second = known.of(one.items), known.of(other.items)
    assert first is not second
    assert known.of(longer(one, "Hi", "And?").items) is first
    assert known.of(longer(other, "Hi", "And?").items) is second


def test_two_drafts_of_a_turn_are_of_one_conversation(known: Conversations) -> None:
    begun = context("Hello")
    first = known.of(begun.items)
    assert known.of(longer(begun, "Hi", "How a").items) is first
    assert known.of(longer(begun, "Hi", "How are you").items) is first


def test_what_is_removed_or_truncated_does_not_matter_as_long_as_something_is_left(
    known: Conversations,
) -> None:
    begun = context("Hello")
    first = known.of(begun.items)
    later = longer(begun, "Hi", "How are you")
    assert known.of(later.items) is first
    latest = longer(later, "Fine", "Good")
    assert known.of(latest.items[2:]) is first


def test_sessions_that_begin_with_shared_items_part(known: Conversations) -> None:
    shared = context("An example", "Its answer")
    one, other = longer(shared), longer(shared)
    first = known.of(one.items)
    second = known.of(other.items)
    assert first is not second
    assert (
        len({known.of(longer(one, "x", "y").items), known.of(longer(other, "x", "y").items), first, second})
        == 4
    )


def test_asking_again_within_a_conversation_stays_there(known: Conversations) -> None:
    begun = context("Hello")
    first = known.of(begun.items)
    later = longer(begun, "Hi", "How are you")
    assert known.of(later.items) is known.of(later.items) is first
    assert known.of(longer(later, "Fine", "Good").items) is first


def test_instructions_tell_nothing(known: Conversations) -> None:
    def instructed() -> list[ChatItem]:
        made = ChatContext.empty()
        made.add_message(role="system", content="Be brief.", id="lk.agent_task.instructions")
        return list(made.items)

    assert known.of(instructed()) is not known.of(instructed())
    assert len(known) == 0
    update = AgentConfigUpdate(instructions="Be brief.")
    first = known.of([*instructed(), update])
    assert known.of([*instructed(), update, *context("Hello").items]) is first


def test_what_is_not_used_is_forgotten(
    known: Conversations, forgotten: list[Hashable], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_CONVERSATIONS", 3)
    contexts = [context(str(number)) for number in range(4)]
    made = [known.of(one.items) for one in contexts]
    assert forgotten == [made[0]]
    assert known.of(longer(contexts[0], "x", "y").items) not in made
    clock.now = rules.IDLE_S + 1
    last = known.of(context("new").items)
    assert set(forgotten) >= set(made)
    known.clear()
    assert forgotten[-1] is last
    assert len(known) == 0


def test_memory_of_one_conversation_is_bounded(known: Conversations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_ENDS", 4)
    chat_ctx = context("Hello")
    first = known.of(chat_ctx.items)
    for number in range(20):
        chat_ctx = longer(chat_ctx, "yes", str(number))
        assert known.of(chat_ctx.items) is first
    assert len(first.ends) == 4


async def test_sessions_with_the_same_first_items_never_share_a_parent(
    emulator: Emulator, llm: trunkline.LLM
) -> None:
    shared = context("An example", "Its answer", "Hello")
    one, other = shared.copy(), shared.copy()
    for chat_ctx in (one, other):
        await ask(llm, chat_ctx)
    for _ in range(2):
        for chat_ctx in (one, other):
            chat_ctx.add_message(role="user", content="How are you")
            await ask(llm, chat_ctx)
    made = responses(emulator)
    for mine, others in ((made[0::2], made[1::2]), (made[1::2], made[0::2])):
        assert {response.previous_response_id for response in mine}.isdisjoint(
            {response.id for response in others}
        )
    assert made[-1].previous_response_id == made[-3].id
