from __future__ import annotations

from typing import Any

import pytest

import trunkline
from trunkline.emulator import Emulator
from trunkline.request_fields import with_extra

from .talk import read


def body_of(emulator: Emulator) -> dict[str, Any]:
    """The body of the last request."""
    body = emulator.requests[-1].body
    assert body is not None
    return body


async def sent(emulator: Emulator, stream: trunkline.ResponseStream) -> dict[str, Any]:
    """The body of a request with a field that the emulator refuses as unknown, as the service does."""
    with pytest.raises(trunkline.ResponseRefused, match="brand_new"):
        await read(stream)
    return body_of(emulator)


def test_without_extra_fields_the_fields_are_unchanged() -> None:
    assert with_extra({"model": "m", "store": None}, None) == {"model": "m", "store": None}


def test_extra_fields_come_after_the_others() -> None:
    assert list(with_extra({"model": "m"}, {"brand_new": 1})) == ["model", "brand_new"]


def test_a_field_that_is_given_twice_is_refused_by_its_name() -> None:
    with pytest.raises(trunkline.ConfigurationError, match="extra_fields has model, store:") as refused:
        with_extra({"model": "m", "store": None, "user": "u"}, {"store": True, "model": "x", "other": 1})
    assert refused.value.argument == "extra_fields"


@pytest.mark.parametrize("extra", ["text", 5, [("brand_new", 1)]])
def test_extra_fields_are_a_mapping(extra: Any) -> None:
    with pytest.raises(trunkline.ConfigurationError, match="extra_fields must be a dict"):
        with_extra({}, extra)


async def test_extra_fields_of_a_conversation_are_sent_with_each_turn(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", user="u", extra_fields={"brand_new": {"deep": [1]}})
    for words in ("one", "two"):
        body = await sent(emulator, chat.send(words))
        assert (body["user"], body["brand_new"]) == ("u", {"deep": [1]})


async def test_extra_fields_of_a_stream_are_sent(emulator: Emulator, client: trunkline.Client) -> None:
    stream = client.stream(
        model="echo", input="hello", instructions="be brief", extra_fields={"brand_new": 1}
    )
    body = await sent(emulator, stream)
    assert (body["brand_new"], body["instructions"]) == (1, "be brief")


async def test_unknown_keywords_are_sent_as_fields(emulator: Emulator, client: trunkline.Client) -> None:
    stream = client.stream(model="echo", input="hello", brand_new=1)  # type: ignore[call-arg]
    assert (await sent(emulator, stream))["brand_new"] == 1


async def test_the_arguments_of_a_conversation_are_not_extra_fields(client: trunkline.Client) -> None:
    for name in ("model", "instructions", "tools"):
        with pytest.raises(trunkline.ConfigurationError, match=f"extra_fields has {name}:"):
            client.conversation(model="echo", extra_fields={name: "x"})


async def test_extra_fields_of_one_turn_are_sent_with_it_alone(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo")
    assert (await sent(emulator, chat.send("one", extra_fields={"brand_new": 1})))["brand_new"] == 1
    await read(chat.send("two"))
    assert "brand_new" not in body_of(emulator)
    with pytest.raises(trunkline.ConfigurationError, match="extra_fields has temperature:"):
        chat.send("three", temperature=0.2, extra_fields={"temperature": 0.3})


async def test_extra_fields_of_a_run_are_sent_with_each_of_its_turns(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo")
    with pytest.raises(trunkline.ResponseRefused, match="brand_new"):
        await chat.run("one", extra_fields={"brand_new": 1})
    assert body_of(emulator)["brand_new"] == 1
