"""Structured output: ``text_format`` in the request, ``response.parsed`` in the response."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

import trunkline
from trunkline.emulator import Emulator
from trunkline.text_format import TextFormat

from .talk import WEATHER, ask, read, user

TEXT = '{"city":"Oslo","degrees":-3,"sky":null}'


@dataclasses.dataclass
class AsDataclass:
    city: str
    degrees: int
    sky: str | None = None


class AsStruct(msgspec.Struct):
    city: str
    degrees: int
    sky: str | None = None


class AsTypedDict(TypedDict):
    city: str
    degrees: int
    sky: NotRequired[str | None]


class AsModel(pydantic.BaseModel):
    city: str
    degrees: int
    sky: str | None = None


VALUES = {
    AsDataclass: AsDataclass("Oslo", -3),
    AsStruct: AsStruct("Oslo", -3),
    AsTypedDict: {"city": "Oslo", "degrees": -3, "sky": None},
    AsModel: AsModel(city="Oslo", degrees=-3),
}


def sent(emulator: Emulator) -> dict[str, Any]:
    """The ``text`` of the last request."""
    text: dict[str, Any] = (emulator.requests[-1].body or {})["text"]
    return text


@pytest.mark.parametrize("kind", VALUES)
async def test_the_output_is_a_value_of_the_type(
    emulator: Emulator, chat: trunkline.Conversation, kind: type
) -> None:
    emulator.expect().says(TEXT)
    stream = await ask(chat, "weather?", text_format=kind)
    assert stream.response.parsed == VALUES[kind]
    assert isinstance(stream.response.parsed, dict if kind is AsTypedDict else kind)
    wanted = sent(emulator)["format"]
    assert (wanted["type"], wanted["name"], wanted["strict"]) == ("json_schema", kind.__name__, True)
    assert wanted["schema"]["type"] == "object"
    assert set(wanted["schema"]["properties"]) == set(wanted["schema"]["required"]) == set(json.loads(TEXT))
    assert wanted["schema"]["additionalProperties"] is False
    assert (await ask(chat, "and?")).response.parsed is None  # text_format is for one turn


async def test_run_and_client_stream_accept_text_format(
    emulator: Emulator, client: trunkline.Client, chat: trunkline.Conversation
) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "snow"

    emulator.expect().calls("get_weather", city="Oslo")
    emulator.expect().says(TEXT)
    run = chat.run("weather?", tools=[get_weather], text_format=AsModel)
    assert (await run).parsed == VALUES[AsModel]
    assert sent(emulator)["format"]["name"] == "AsModel"
    emulator.expect().says(TEXT)
    stream = await read(client.stream(model="echo", input=[user("weather?")], text_format=AsStruct))
    assert stream.response.parsed == VALUES[AsStruct]


async def test_other_options_of_text_are_kept(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", text={"verbosity": "low"})
    await ask(chat, TEXT, text_format=AsStruct)
    assert (sent(emulator)["verbosity"], sent(emulator)["format"]["name"]) == ("low", "AsStruct")
    await ask(chat, TEXT, text_format=AsStruct, text={"verbosity": "high"})
    assert (sent(emulator)["verbosity"], sent(emulator)["format"]["name"]) == ("high", "AsStruct")
    await ask(chat, "and?")
    assert sent(emulator) == {"verbosity": "low"}


async def test_an_incomplete_response_or_one_of_calls_only_is_not_parsed(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    emulator.expect().says("one two three four")
    cut = await ask(chat, "weather?", text_format=AsModel, max_output_tokens=2)
    assert (cut.response.status, cut.response.parsed) == ("incomplete", None)
    emulator.expect().calls("get_weather", city="Oslo")
    called = await ask(chat, "weather?", tools=[WEATHER], text_format=AsModel)
    assert called.response.parsed is None


def response_of(*content: dict[str, Any]) -> trunkline.Response:
    items = [{"type": "message", "role": "assistant", "content": [part]} for part in content]
    made = {"id": "resp_1", "status": "completed", "output": items}
    return msgspec.json.decode(msgspec.json.encode(made), type=trunkline.Response)


def test_a_refusal_is_not_parsed() -> None:
    response = response_of({"type": "refusal", "refusal": "I cannot."})
    response.parse_with(TextFormat.of(AsModel).parse)
    assert response.parsed is None


def test_of_several_messages_the_last_one_counts() -> None:
    response = response_of(
        {"type": "output_text", "text": "Let me see."}, {"type": "output_text", "text": TEXT}
    )
    response.parse_with(TextFormat.of(AsStruct).parse)
    assert response.parsed == VALUES[AsStruct]


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(
    "text", ["no JSON", '{"city":"top secret"}', '{"city":"Oslo","degrees":"top secret"}']
)
async def test_a_text_that_does_not_fit_is_raised_and_not_shown(
    emulator: Emulator, chat: trunkline.Conversation, kind: type, text: str
) -> None:
    emulator.expect().says(text)
    stream = await ask(chat, "weather?", text_format=kind)
    with pytest.raises(ValueError, match=f"the output text does not fit {kind.__name__}: ") as wrong:
        _ = stream.response.parsed
    assert "secret" not in str(wrong.value)
    assert wrong.value.__suppress_context__
    assert stream.response.output_text == text


# Types that cannot be a format.


class Anything(msgspec.Struct):
    values: dict[str, int]


class Unknown(msgspec.Struct):
    value: complex


class Extra(pydantic.BaseModel, extra="allow"):
    city: str


class Rooted(pydantic.RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (3, "text_format is 3: give a class that is a pydantic model"),
        (int, "text_format is the class int"),
        (AsDataclass("Oslo", 1), "text_format is of type AsDataclass"),
        ({"type": "object"}, "text_format is of type dict"),
        (list[AsStruct], "text_format is of type GenericAlias"),
        (Anything, "the field values takes keys of any name: make it a dataclass"),
        (Extra, "takes keys of any name"),
        (Unknown, "Unknown has a field without a JSON schema"),
        (Rooted, "Rooted is not a JSON object"),
    ],
)
async def test_a_wrong_type_is_refused_at_once(
    emulator: Emulator, client: trunkline.Client, chat: trunkline.Conversation, wrong: Any, says: str
) -> None:
    for act in (
        lambda: chat.send("x", text_format=wrong),
        lambda: chat.run("x", text_format=wrong),
        lambda: client.stream(model="echo", input="x", text_format=wrong),
    ):
        with pytest.raises(trunkline.ConfigurationError) as refused:
            act()
        assert says in str(refused.value)
        assert refused.value.argument == "text_format"
    assert emulator.requests == []


async def test_text_format_beside_a_format_in_text_is_refused(chat: trunkline.Conversation) -> None:
    with pytest.raises(trunkline.ConfigurationError, match="leave one of them out"):
        chat.send("x", text_format=AsModel, text={"format": {"type": "json_object"}})


# Schemas.


@dataclasses.dataclass
class Person:
    name: str
    boss: Person | None = None
    mood: Literal["good", "bad"] = "good"


class Node(pydantic.BaseModel):
    name: str = pydantic.Field(description="its name")
    next: Node | None = None


@pytest.mark.parametrize("kind", [Person, Node])
def test_the_root_of_a_recursive_type_is_an_object(kind: type) -> None:
    schema = TextFormat.of(kind).definition["schema"]
    assert schema["type"] == "object"
    assert schema["$defs"][kind.__name__]["properties"].keys() == schema["properties"].keys()
    assert f'"#/$defs/{kind.__name__}"' in json.dumps(schema)
    assert '"default"' not in json.dumps(schema)


def test_the_name_is_valid_for_the_api() -> None:
    kind = msgspec.defstruct("Ответ[int]" * 20, [("value", int)])
    name = TextFormat.of(kind).definition["name"]
    assert len(name) == 64
    assert name.replace("_", "").replace("-", "").isascii()


def test_the_format_of_a_type_is_built_once() -> None:
    assert TextFormat.of(AsModel) is TextFormat.of(AsModel)


def test_pydantic_is_not_imported() -> None:
    program = "import sys, trunkline.text_format; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
