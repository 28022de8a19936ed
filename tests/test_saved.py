"""Conversations and keys that continue in another process: another client, and other connections."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trunkline
from trunkline import Cause, ConfigurationError
from trunkline.emulator import Emulator, assert_context

from .talk import WEATHER, ask, assert_kept, assistant, client_of, first_text, hold_after_first_word, user

JSON = dict[str, Any]


def handed_over(saved: JSON) -> JSON:
    """The value as another process reads it."""
    restored: JSON = json.loads(json.dumps(saved))
    return restored


@asynccontextmanager
async def process(emulator: Emulator, **options: Any) -> AsyncIterator[trunkline.Client]:
    """A client as another process has it. Its sockets, and what they remember, end with it."""
    async with client_of(emulator, **options) as client:
        yield client


async def saved_by(emulator: Emulator, *words: str, **fields: Any) -> JSON:
    """A conversation that a process has saved at its end."""
    async with process(emulator) as client:
        chat = client.conversation(**{"model": "echo", **fields})
        for said in words:
            await ask(chat, said)
        return handed_over(chat.save())


# Conversations.


@pytest.mark.parametrize("model", ["echo", "reason", "messages-3"])
async def test_a_restored_conversation_continues_with_a_delta(model: str, emulator: Emulator) -> None:
    saved = await saved_by(emulator, "one", "two", model=model)
    async with process(emulator) as client:
        chat = client.conversation(saved=saved)
        stream = await ask(chat, "three")
        assert (stream.metrics.mode, stream.metrics.attempts) == ("delta", 1)
        assert_kept(emulator, chat, stream.response)
        assert (await ask(chat, "four")).metrics.mode == "delta"


@pytest.mark.parametrize("model", ["echo", "reason"])
async def test_without_a_store_it_continues_in_full(model: str, emulator: Emulator) -> None:
    saved = await saved_by(emulator, "one", "two", model=model, store=False)
    assert saved["responses"] == []
    async with process(emulator) as client:
        chat = client.conversation(saved=saved)
        stream = await ask(chat, "three")
        assert (stream.metrics.mode, stream.metrics.attempts) == ("full", 1)
        assert_kept(emulator, chat, stream.response)
        assert emulator.requests[-1].body is not None
        assert emulator.requests[-1].body["store"] is False


@pytest.mark.parametrize("model", ["echo", "reason"])
async def test_in_full_if_the_service_has_forgotten(model: str, emulator: Emulator) -> None:
    saved = await saved_by(emulator, "one", "two", model=model)
    for response_id in list(emulator.responses):
        emulator.delete(response_id)
    async with process(emulator) as client:
        chat = client.conversation(saved=saved)
        stream = await ask(chat, "three")
        assert stream.metrics.recoveries == [Cause.PARENT_LOST]
        assert_kept(emulator, chat, stream.response)
        stream = await ask(chat, "four")
        assert (stream.metrics.mode, stream.metrics.recoveries) == ("delta", [])


async def test_in_full_from_another_endpoint(emulator: Emulator) -> None:
    saved = await saved_by(emulator, "one", "two")
    async with Emulator() as other, process(other) as client:
        chat = client.conversation(saved=saved)
        stream = await ask(chat, "three")
        assert (stream.metrics.mode, stream.metrics.attempts) == ("full", 1)
        assert_kept(other, chat, stream.response)


@pytest.mark.parametrize("zdr", [True, "silent"])
async def test_in_full_under_zero_data_retention(zdr: Any) -> None:
    async with Emulator(zdr=zdr) as emulator:
        saved = await saved_by(emulator, "one", "two", model="reason")
        async with process(emulator) as client:
            chat = client.conversation(saved=saved)
            for words in ("three", "four"):
                assert_kept(emulator, chat, (await ask(chat, words)).response)


async def test_an_answer_that_was_cut_continues_from_the_response_before_it(emulator: Emulator) -> None:
    async with process(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        hold_after_first_word(emulator)
        async with chat.send("two three four") as stream:
            await first_text(stream)
        chat.heard("You")
        saved = handed_over(chat.save())
    async with process(emulator) as client:
        chat = client.conversation(saved=saved)
        stream = await ask(chat, "five")
        assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 3)
        assert_kept(emulator, chat, stream.response)


async def test_an_id_that_another_response_gets_after_the_save_is_not_named() -> None:
    async with (
        Emulator(quirks=["xai"]) as emulator,
        process(emulator, lanes=False) as old,
        process(emulator, lanes=False) as new,
    ):
        chat, other = (old.conversation(model="echo") for _ in range(2))
        await ask(chat, "one")
        saved = handed_over(chat.save())
        await ask(other, "words of another")
        assert len({record.wire_id for record in emulator.responses.values()}) == 1
        restored = new.conversation(saved=saved)
        await ask(restored, "two")
        record = list(emulator.responses.values())[-1]
        assert_context(record.effective_context, restored.items[:-1])


async def test_settings_are_restored_and_can_be_overridden(emulator: Emulator) -> None:
    saved = await saved_by(
        emulator, "one", instructions="Be brief.", tools=[WEATHER], metadata={"caller": "7"}
    )
    async with process(emulator) as client:
        chat = client.conversation(saved=saved)
        assert chat.items == [{"type": "message", **user("one")}, *saved["items"][1:]]
        await ask(chat, "two")
        body = emulator.requests[-1].body or {}
        assert (body["model"], body["instructions"], body["metadata"]) == (
            "echo",
            "Be brief.",
            {"caller": "7"},
        )
        assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
        other = client.conversation(
            saved=saved, instructions="Be long.", tools=[], extra_fields={"user": "u"}
        )
        await ask(other, "two")
        body = emulator.requests[-1].body or {}
        assert (body["instructions"], body["user"], body["metadata"]) == ("Be long.", "u", {"caller": "7"})
        assert "tools" not in body


async def test_python_tools_are_given_again(emulator: Emulator) -> None:
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    emulator.expect("Oslo").calls("get_weather", city="Oslo")
    async with process(emulator) as client:
        chat = client.conversation(model="echo", tools=[get_weather])
        await ask(chat, "hello")
        saved = handed_over(chat.save())
    async with process(emulator) as client:
        chat = client.conversation(saved=saved, tools=[get_weather])
        run = chat.run("What about Oslo?")
        await run
        assert [each.mode for each in run.metrics] == ["delta", "delta"]


async def test_a_call_without_its_output_is_answered_after_the_restart(emulator: Emulator) -> None:
    emulator.expect("Oslo").calls("get_weather", city="Oslo")
    saved = await saved_by(emulator, "What about Oslo?", tools=[WEATHER])
    (call,) = [item for item in saved["items"] if item["type"] == "function_call"]
    async with process(emulator) as client:
        chat = client.conversation(saved=saved)
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        stream = await ask(chat, [output])
        assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
        assert_kept(emulator, chat, stream.response)


async def test_a_value_can_be_saved_during_a_turn_and_many_times(emulator: Emulator) -> None:
    async with process(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        before = chat.save()
        gate = hold_after_first_word(emulator)
        async with chat.send("two three") as stream:
            await first_text(stream)
            assert chat.save() == before
            gate.open()
            await stream.finish()
        assert client.conversation(saved=chat.save()).save() == chat.save()


# Keys.


async def test_a_restored_key_continues_with_a_delta(emulator: Emulator) -> None:
    history: list[Any] = []
    async with process(emulator) as client:
        for words in ("one", "two"):
            history.append(user(words))
            async with client.stream(model="reason", input=history, key="caller 7") as stream:
                history += (await stream.finish()).output  # reasoning with its id, as the README shows
        saved = handed_over(client.save("caller 7"))
    async with process(emulator) as client:
        client.restore("caller 7", saved)
        history.append(user("three"))
        async with client.stream(model="reason", input=history, key="caller 7") as stream:
            await stream.finish()
        assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
        async with client.stream(model="reason", input=history, key="caller 8") as stream:
            await stream.finish()
        assert stream.metrics.mode == "full"


async def test_another_history_of_a_restored_key_is_sent_in_full(emulator: Emulator) -> None:
    async with process(emulator) as client:
        async with client.stream(model="echo", input="one", key="k") as stream:
            await stream.finish()
        saved = handed_over(client.save("k"))
    async with process(emulator) as client:
        client.restore("k", saved)
        history = [user("another"), assistant("You said: one"), user("two")]
        async with client.stream(model="echo", input=history, key="k") as stream:
            await stream.finish()
        assert stream.metrics.mode == "full"


async def test_a_key_without_a_past_has_nothing_to_save(emulator: Emulator) -> None:
    async with process(emulator) as client:
        saved = client.save("never used")
        assert saved["responses"] == []
        client.restore("never used", handed_over(saved))
        async with client.stream(model="echo", input="one", key="k", store=False) as stream:
            await stream.finish()
        assert client.save("k")["responses"] == []


async def test_a_history_with_reasoning_that_is_gone_is_answered_in_a_new_process(emulator: Emulator) -> None:
    history: list[Any] = []
    async with process(emulator) as client:
        for words in ("one", "two"):
            history.append(user(words))
            async with client.stream(model="reason", input=history, key="k") as stream:
                history += (await stream.finish()).output
    async with Emulator() as forgetful, process(forgetful) as client:
        history.append(user("three"))
        async with client.stream(model="reason", input=history, key="k") as stream:
            history += (await stream.finish()).output
        assert stream.metrics.recoveries == [Cause.ITEM_LOST]
        seen = forgetful.responses[stream.response.id].effective_context
        assert [item.get("role") for item in seen] == ["user", "assistant", "user", "assistant", "user"]
        history.append(user("four"))
        async with client.stream(model="reason", input=history, key="k") as stream:
            await stream.finish()
        assert (stream.metrics.mode, stream.metrics.recoveries) == ("delta", [])


# What cannot be restored.


KINDS = ["conversation", "key"]


def restored(kind: str, saved: Any) -> None:
    """Restore a value; nothing is sent."""
    client = trunkline.Client(base_url="http://127.0.0.1:9/v1", api_key="k")
    if kind == "key":
        client.restore("k", saved)
    else:
        client.conversation(saved=saved)


def value(kind: str, **other: Any) -> JSON:
    own = {"fields": {"model": "echo"}, "items": [user("secret words")]} if kind == "conversation" else {}
    endpoint = "http://127.0.0.1:9/v1/responses"
    return {"version": 1, "kind": kind, "endpoint": endpoint, "responses": [], **own, **other}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_value_is_restored(kind: str) -> None:
    restored(kind, value(kind, unknown="field of a later version 1"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_version_is_refused(kind: str) -> None:
    with pytest.raises(
        ConfigurationError, match="saved has version 2, and this version of trunkline"
    ) as error:
        restored(kind, value(kind, version=2))
    assert error.value.argument == "saved"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [{}, [], "words", {"version": "1"}, {"version": True, "kind": "key"}])
def test_something_else_is_refused(kind: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is no value of \w+\.save\(\)"):
        restored(kind, wrong)


def test_the_value_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no value of Client\.save\(\)"):
        restored("key", value("conversation"))
    with pytest.raises(ConfigurationError, match=r"no value of Conversation\.save\(\)"):
        restored("conversation", value("key"))


RESPONSE = {"id": "resp_1", "model": "echo", "length": 1, "mark": "00" * 32, "output": []}
DAMAGE: dict[str, JSON] = {
    "no responses": {"responses": None},
    "a length below zero": {"responses": [RESPONSE | {"length": -1}]},
    "a mark that is no number": {"responses": [RESPONSE | {"mark": "secret words"}]},
    "an output that is no object": {"responses": [RESPONSE | {"output": ["secret words"]}]},
    "an identity of no output": {"responses": [RESPONSE | {"identities": {"7": "00"}}]},
    "an identity that is no number": {"responses": [RESPONSE | {"identities": {"x": "00"}}]},
    "no endpoint": {"endpoint": 7},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_value_is_refused_without_its_content(name: str, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^saved is damaged.*; start anew") as error:
        restored(kind, value(kind, **DAMAGE[name]))
    assert error.value.argument == "saved"
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "items", [None, "secret words", ["secret words"], [{"content": "secret words"}]], ids=repr
)
def test_damaged_items_are_refused(items: Any) -> None:
    with pytest.raises(ConfigurationError, match="saved") as error:
        restored("conversation", value("conversation", items=items))
    assert error.value.argument == "saved"
    assert "secret" not in str(error.value)


def test_items_and_saved_cannot_be_combined() -> None:
    client = trunkline.Client(base_url="http://127.0.0.1:9/v1", api_key="k")
    with pytest.raises(ConfigurationError, match="items and saved cannot be combined"):
        client.conversation(saved=value("conversation"), items=[user("one")])
    with pytest.raises(ConfigurationError, match="model is missing"):
        client.conversation()


def test_a_query_of_the_url_is_not_saved() -> None:
    client = trunkline.Client(base_url="http://127.0.0.1:9/v1?key=secret", api_key="k")
    assert "secret" not in json.dumps([client.save("k"), client.conversation(model="echo").save()])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3),
    max_leaves=6,
)


def _places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [path, *(place for name, each in inner for place in _places(each, (*path, name)))]


def _replaced(part: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed: Any = dict(part) if isinstance(part, dict) else list(part)
    changed[path[0]] = _replaced(part[path[0]], path[1:], new)
    return changed


WHOLE = value(
    "conversation",
    responses=[{**RESPONSE, "output": [assistant("hello")], "identities": {"0": "00" * 32}}],
)
PLACES = _places(WHOLE)


@given(st.sampled_from(PLACES), json_values)
def test_damage_anywhere_is_refused_or_harmless(place: tuple[Any, ...], new: Any) -> None:
    try:
        restored("conversation", _replaced(WHOLE, place, new))
    except ConfigurationError as error:
        assert error.argument in {"saved", "model", "tools"} or place[:1] == ("fields",)  # noqa: PT017
