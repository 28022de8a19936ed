"""Models that drop reasoning after an edited prefix: which actions of a conversation keep it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

import trunkline
from trunkline.emulator import Call, Emulator, Prompt, Reason, ResponseRecord, Say, Step, words

from .talk import ask, client_of, first_text, record_of, user

MODEL = "gpt-6.2-astra"
Action: TypeAlias = Callable[[trunkline.Conversation, Emulator], Awaitable[trunkline.ResponseStream]]


def thinks(prompt: Prompt) -> list[Step]:
    """Reason, then call the first tool or answer."""
    thought = Reason(words("Let me think."))
    if "weather" in prompt.user_text and prompt.callable_tools and not prompt.outputs:
        return [thought, Call(prompt.callable_tools[-1]["name"], '{"city": "Oslo"}')]
    return [thought, Say(words("One two three four five six seven eight."))]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"12 degrees in {city}"


SNOW = {"type": "function", "name": "get_snow", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        for model in (MODEL, "gpt-6.2-luna"):
            running.add_model(model, thinks)
        yield running


@pytest.fixture(params=["websocket", "http"])
async def client(request: pytest.FixtureRequest, emulator: Emulator) -> AsyncIterator[trunkline.Client]:
    async with client_of(emulator, transport=request.param) as running:
        yield running


def reasoning_in(record: ResponseRecord) -> int:
    return sum(item.get("type") == "reasoning" for item in record.effective_context)


# Actions. Each ends with a turn after one turn with a call and its output, and one turn without.


async def nothing(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on")


async def interrupt(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    async with chat.send("tell me") as stream:
        await first_text(stream)
    chat.heard("One")
    return await ask(chat, "stop")


async def hear_less(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    chat.heard("One two")
    return await ask(chat, "what?")


async def fork(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat.fork(), "in between")


async def lose_memory(chat: trunkline.Conversation, emulator: Emulator) -> trunkline.ResponseStream:
    emulator.forget()
    return await ask(chat, "again")


async def lose_connections(chat: trunkline.Conversation, emulator: Emulator) -> trunkline.ResponseStream:
    await emulator.drop_connections()
    return await ask(chat, "again")


async def change_instructions(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", instructions="Be verbose.")


async def choose_tools(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", tool_choice="none")


async def allow_some_tools(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    allowed = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "get_weather"}],
    }
    return await ask(chat, "go on", tool_choice=allowed)


async def add_tools_in_an_item(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    added = {"type": "additional_tools", "role": "developer", "tools": [SNOW]}
    stream = await ask(chat, [added, user("the weather?")])
    assert [call["name"] for call in stream.response.tool_calls] == ["get_snow"]
    return stream


async def update_the_configuration(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    update = {"type": "configuration_update", "reasoning": {"effort": "high"}}
    return await ask(chat, [update, user("go on")])


async def append_instructions(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, [{"role": "developer", "content": "Be verbose."}, user("go on")])


async def replace_the_last_item(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    chat.replace([*chat.items[:-1], {"role": "assistant", "content": "One."}])
    return await ask(chat, "go on")


async def replace_by_the_same(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    chat.replace(chat.items)
    return await ask(chat, "go on")


async def replace_the_first_item(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    chat.replace([user("something else"), *chat.items[1:]])
    return await ask(chat, "go on")


async def change_tools(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", tools=[SNOW])


async def change_the_effort(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", reasoning={"effort": "low"})


async def change_the_format(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", text={"format": {"type": "json_object"}})


async def change_the_model(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", model="gpt-6.2-luna")


async def change_the_end_user(chat: trunkline.Conversation, _: Emulator) -> trunkline.ResponseStream:
    return await ask(chat, "go on", safety_identifier="another")


KEEPS: tuple[Action, ...] = (
    nothing,
    interrupt,
    fork,
    lose_memory,
    lose_connections,
    change_instructions,
    choose_tools,
    allow_some_tools,
    add_tools_in_an_item,
    update_the_configuration,
    append_instructions,
    replace_by_the_same,
)
KEEPS_EARLIER: tuple[Action, ...] = (hear_less, replace_the_last_item)
"""Actions that change the last answer. Earlier reasoning is kept."""
DROPS: dict[Action, str] = {
    replace_the_first_item: "prefix_mismatch",
    change_tools: "prefix_mismatch",
    change_the_effort: "prefix_mismatch",
    change_the_format: "prefix_mismatch",
    change_the_model: "model_mismatch",
    change_the_end_user: "end_user_mismatch",
}


async def begun(client: trunkline.Client, store: bool) -> trunkline.Conversation:
    """A conversation of two turns, with three reasoning items in its context."""
    chat = client.conversation(model=MODEL, instructions="Be brief.", tools=[get_weather], store=store)
    await chat.run("the weather?")
    await chat.run("tell me more")
    return chat


@pytest.mark.parametrize("action", KEEPS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("store", [True, False])
async def test_the_reasoning_is_kept(
    client: trunkline.Client,
    emulator: Emulator,
    store: bool,
    action: Action,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = await begun(client, store)
    stream = await action(chat, emulator)
    record = record_of(emulator, stream)
    assert reasoning_in(record) == 3
    assert record.dropped_reasoning == []
    assert stream.metrics.removed_reasoning == 0
    assert client.metrics.removed_reasoning.total() == 0
    assert caplog.records == []


@pytest.mark.parametrize("action", KEEPS_EARLIER, ids=lambda action: action.__name__)
@pytest.mark.parametrize("store", [True, False])
async def test_the_reasoning_before_a_changed_answer_is_kept(
    client: trunkline.Client, emulator: Emulator, store: bool, action: Action
) -> None:
    chat = await begun(client, store)
    record = record_of(emulator, await action(chat, emulator))
    # The application edited its own history: only the service has the reasoning of a stored response.
    assert reasoning_in(record) == (3 if action is replace_the_last_item and not store else 2)
    assert record.dropped_reasoning == []


@pytest.mark.parametrize(
    ("action", "reason"), DROPS.items(), ids=lambda value: getattr(value, "__name__", "")
)
async def test_removed_reasoning_is_counted_and_reported_once(
    client: trunkline.Client,
    emulator: Emulator,
    action: Action,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = await begun(client, store=False)
    stream = await action(chat, emulator)
    removed = stream.response.input_transformations
    assert removed == record_of(emulator, stream).dropped_reasoning
    assert [each["reason"] for each in removed] == [reason] * 3
    assert reasoning_in(record_of(emulator, stream)) == 0
    assert stream.metrics.removed_reasoning == 3
    assert client.metrics.removed_reasoning == {reason: 3}
    stream = await action(chat, emulator)  # the history still has the items where it is sent in full
    assert client.metrics.removed_reasoning.total() == 3 + stream.metrics.removed_reasoning
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"removed 3 reasoning items from the context ({reason}: 3)" in caplog.text


async def test_a_hand_off_to_other_tools_is_reported_where_the_parent_is_stored(
    client: trunkline.Client, emulator: Emulator
) -> None:
    chat = await begun(client, store=True)
    stream = await ask(chat, "go on", tools=[SNOW], instructions="You are somebody else.")
    assert stream.metrics.mode == "delta"
    assert [each["reason"] for each in stream.response.input_transformations] == ["prefix_mismatch"] * 3
    assert stream.metrics.removed_reasoning == 3


async def test_other_models_keep_reasoning_after_any_change(
    client: trunkline.Client, emulator: Emulator
) -> None:
    emulator.add_model("gpt-6-astra", thinks)
    chat = client.conversation(model="gpt-6-astra", tools=[get_weather], store=False)
    await chat.run("the weather?")
    stream = await ask(chat, "go on", tools=[SNOW], safety_identifier="another")
    assert reasoning_in(record_of(emulator, stream)) == 2
    assert stream.response.input_transformations == []
