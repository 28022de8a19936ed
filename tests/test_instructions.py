"""Placement of instructions: the model sees them first, once, and the application does not keep them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import trunkline
from trunkline import ConfigurationError, UsageError
from trunkline._protocol.items import Item
from trunkline.emulator import Emulator, assert_context
from trunkline.instructions import leading_message, placement_of

from .talk import ask, assistant, first_text, hold_after_first_word, user

TEXT = "Be brief."
LEAD = {"type": "message", "role": "developer", "content": TEXT}


def led(client: trunkline.Client, **options: Any) -> trunkline.Conversation:
    given: dict[str, Any] = {"model": "echo", "instructions": TEXT, "instructions_placement": "message"}
    return client.conversation(**given | options)


def check(emulator: Emulator, chat: trunkline.Conversation, stream: trunkline.ResponseStream) -> None:
    """The model saw the instructions as the first item, then what the conversation holds."""
    record = emulator.responses[stream.response.id]
    assert record.resource["instructions"] is None
    assert_context(record.effective_context, [LEAD, *chat.items[:-1]])


def body_of(emulator: Emulator, request: int = -1) -> dict[str, Any]:
    body = emulator.requests[request].body
    assert body is not None
    return body


def test_automatic_placement_depends_on_the_endpoint() -> None:
    assert placement_of("auto", is_openai=True) == "message"
    assert placement_of("auto", is_openai=False) == "field"
    assert placement_of("message", is_openai=False) == "message"
    assert placement_of("field", is_openai=True) == "field"
    assert leading_message(TEXT) == Item.of(LEAD)


@pytest.mark.parametrize("wrong", ["developer", 1])
def test_another_placement_is_refused(wrong: Any) -> None:
    client = trunkline.Client(base_url="http://127.0.0.1:9/v1", api_key="k")
    with pytest.raises(ConfigurationError, match="must be 'auto', 'message' or 'field', not") as error:
        client.conversation(model="m", instructions_placement=wrong)
    assert error.value.argument == "instructions_placement"


@pytest.mark.parametrize("model", ["echo", "reason"])
@pytest.mark.parametrize("store", [None, False])
async def test_a_message_is_sent_once_in_a_chain(
    store: bool | None, model: str, emulator: Emulator, client: trunkline.Client
) -> None:
    chat = led(client, model=model, store=store)
    for words in ("one", "two", "three"):
        check(emulator, chat, await ask(chat, words))
    sent = [json.dumps(body_of(emulator, number)).count(TEXT) for number in range(3)]
    assert sent == [1, 0, 0]
    assert chat.items[0] == {"type": "message", **user("one")}
    assert [item["role"] for item in chat.items if "role" in item] == ["user", "assistant"] * 3
    assert repr(chat) == f"<Conversation {model}: {len(chat.items)} items>"


async def test_elsewhere_they_are_a_field_of_each_request(
    emulator: Emulator, client: trunkline.Client
) -> None:
    for options in ({}, {"instructions_placement": "auto"}, {"instructions_placement": "field"}):
        chat = client.conversation(model="echo", instructions=TEXT, **options)  # type: ignore[arg-type]
        await ask(chat, "one")
        assert body_of(emulator)["instructions"] == TEXT
        assert len(body_of(emulator)["input"]) == 1


async def test_after_a_lost_parent_they_are_sent_again(emulator: Emulator, client: trunkline.Client) -> None:
    chat = led(client)
    await ask(chat, "one")
    for response_id in list(emulator.responses):
        emulator.delete(response_id)
    emulator.forget()
    stream = await ask(chat, "two")
    check(emulator, chat, stream)
    assert body_of(emulator)["input"][0] == LEAD


async def test_a_warm_up_sends_them(emulator: Emulator, client: trunkline.Client) -> None:
    chat = led(client)
    await chat.warm()
    assert body_of(emulator)["input"] == [LEAD]
    stream = await ask(chat, "one")
    assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
    check(emulator, chat, stream)


async def test_forks_replacements_and_corrections_keep_them(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = led(client)
    for words in ("one", "two"):
        await ask(chat, words)
    twin = chat.fork()
    stream = await ask(twin, "three")
    assert stream.metrics.mode == "delta"
    check(emulator, twin, stream)
    chat.heard("tw")
    stream = await ask(chat, "four")
    assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 3)
    check(emulator, chat, stream)
    chat.replace([*chat.items[:2], user("five")])
    assert len(chat.items) == 3
    stream = await ask(chat, "six")
    assert stream.metrics.mode == "delta"
    check(emulator, chat, stream)
    chat.replace([])
    assert chat.items == []
    check(emulator, chat, await ask(chat, "seven"))


async def test_an_answer_that_is_left_keeps_them(emulator: Emulator, client: trunkline.Client) -> None:
    chat = led(client)
    hold_after_first_word(emulator)
    async with chat.send("one two three") as stream:
        text = await first_text(stream)
    assert_context(chat.items, [user("one two three"), assistant(text)])
    check(emulator, chat, await ask(chat, "four"))


async def test_a_turn_with_instructions_of_its_own_has_no_message(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = led(client)
    await ask(chat, "one")
    for other in ("Be long.", None):
        await ask(chat, "two", instructions=other)
        assert body_of(emulator).get("instructions") == other
        record = list(emulator.responses.values())[-1]
        assert_context(record.effective_context, chat.items[:-1])
    assert [item["role"] for item in chat.items] == ["user", "assistant"] * 3
    check(emulator, chat, await ask(chat, "three"))


async def test_a_run_with_instructions_of_its_own(emulator: Emulator, client: trunkline.Client) -> None:
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    emulator.expect("Oslo").calls("get_weather", city="Oslo")
    chat = led(client, tools=[get_weather])
    await ask(chat, "one")
    await chat.run("What about Oslo?", instructions="Be long.")
    assert [body_of(emulator, number).get("instructions") for number in range(3)] == [None, *["Be long."] * 2]
    kinds = [item.get("role") or item["type"] for item in chat.items]
    assert kinds == ["user", "assistant", "user", "function_call", "function_call_output", "assistant"]
    check(emulator, chat, await ask(chat, "two"))


async def test_a_context_of_the_services_has_them_as_a_field(
    emulator: Emulator, client: trunkline.Client
) -> None:
    other = client.conversation(model="echo")
    parent = (await ask(other, "zero")).response.id
    chat = led(client)
    await ask(chat, "one", previous_response_id=parent)
    assert body_of(emulator)["instructions"] == TEXT
    assert body_of(emulator)["input"] == [{"type": "message", **user("one")}]
    check(emulator, chat, await ask(chat, "two"))
    always = led(client, previous_response_id=parent)
    await ask(always, "one")
    assert body_of(emulator)["instructions"] == TEXT


async def test_a_saved_conversation_keeps_its_placement(emulator: Emulator, client: trunkline.Client) -> None:
    chat = led(client)
    await ask(chat, "one")
    saved = json.loads(json.dumps(chat.save()))
    assert saved["fields"]["instructions"] == TEXT
    assert len(saved["items"]) == 2
    assert saved["instructions_placement"] == "message"
    # Another endpoint decides for itself unless the application has decided.
    assert client.conversation(model="echo", instructions=TEXT).save()["instructions_placement"] == "auto"
    restored = client.conversation(saved=saved)
    stream = await ask(restored, "two")
    assert stream.metrics.mode == "delta"
    check(emulator, restored, stream)
    edited = client.conversation(saved=saved, instructions="Be long.")
    stream = await ask(edited, "two")
    assert stream.metrics.mode == "full"
    assert body_of(emulator)["input"][0] == {**LEAD, "content": "Be long."}
    moved = client.conversation(saved=saved, instructions_placement="field")
    assert (await ask(moved, "two")).metrics.mode == "full"
    assert body_of(emulator)["instructions"] == TEXT


async def test_a_compaction_leaves_them_out(emulator: Emulator, client: trunkline.Client) -> None:
    chat = led(client)
    with pytest.raises(UsageError, match="empty"):
        await chat.compact()
    await ask(chat, "one")
    await chat.compact()
    assert TEXT not in json.dumps(body_of(emulator))
    assert [item["type"] for item in chat.items] == ["message", "compaction"]
    check(emulator, chat, await ask(chat, "two"))
    assert body_of(emulator)["input"][0] == LEAD


async def test_conversations_with_equal_instructions_share_the_message(client: trunkline.Client) -> None:
    first, second, other = led(client), led(client), led(client, instructions="Be long.")
    await ask(first, "one")
    assert first.save()["fields"] == second.save()["fields"] != other.save()["fields"]
    assert led(client, instructions="").items == []
