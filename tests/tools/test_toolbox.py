"""Toolboxes: the values that ``tools=[…]`` accepts, and calls by name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest

from trunkline.errors import ConfigurationError
from trunkline.tools import FunctionTool, Toolbox


def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"{city}: sunny for {days} d"


def test_a_toolbox_keeps_the_order_and_the_dicts_as_they_are() -> None:
    search = {"type": "web_search", "filters": None}
    custom = {"type": "custom", "name": "sql", "format": {"type": "text"}}
    theirs = {"type": "function", "name": "theirs", "parameters": {}, "strict": True}
    made = FunctionTool.of(get_weather, timeout_s=1)
    box = Toolbox.of([search, made, custom, test_a_toolbox_keeps_the_order_and_the_dicts_as_they_are, theirs])
    assert box.definitions[0] is search
    assert box.definitions[1] is made.definition
    assert box.definitions[2] is custom
    assert box.definitions[3]["name"] == "test_a_toolbox_keeps_the_order_and_the_dicts_as_they_are"
    assert box.definitions[4] is theirs
    assert box.get("get_weather") is made
    assert box.get("theirs") is box.get("sql") is box.get("nobody") is None
    assert box.names == {"get_weather", "sql", "theirs", box.definitions[3]["name"]}


def test_an_empty_toolbox_has_no_definitions_and_no_names() -> None:
    box = Toolbox.of(())
    assert (box.definitions, box.names, box.get("x")) == ([], frozenset(), None)


def test_any_mapping_is_a_definition() -> None:
    assert Toolbox.of([MappingProxyType({"type": "web_search"})]).definitions == [{"type": "web_search"}]


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([get_weather, FunctionTool.of(get_weather)], ["tools[1]", "'get_weather'", "trunkline.tool(name"]),
        ([get_weather, {"type": "custom", "name": "get_weather"}], ["tools[1]", "'get_weather'"]),
        (
            [{"type": "web_search"}, {"type": "function", "function": {"name": "x"}}],
            ["tools[1]", "needs a name"],
        ),
        ([{"type": "custom", "name": ""}], ["tools[0]", "needs a name"]),
        ([{"name": "x"}], ["tools[0]", "needs a type"]),
        ([get_weather, 3], ["tools[1]", "int"]),
        (["get_weather"], ["tools[0]", "str"]),
        ("get_weather", ["tools must be a list, not str"]),
        ({"type": "web_search"}, ["tools must be a list, not dict"]),
        (get_weather, ["tools must be a list, not function"]),
    ],
)
def test_an_entry_that_is_no_tool_is_refused_with_its_index(tools: Sequence[Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Toolbox.of(tools)
    assert [word for word in words if word not in str(raised.value)] == []


def test_toolboxes_share_the_tool_of_a_function() -> None:
    assert Toolbox.of([get_weather]).get("get_weather") is Toolbox.of([get_weather]).get("get_weather")


async def test_functions_are_called_by_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trunkline.tools")
    box = Toolbox.of([get_weather])
    assert await box.call("get_weather", '{"city":"Oslo"}', timeout_s=30) == "Oslo: sunny for 1 d"
    assert "no tool of this name" in await box.call("get_secret", "{}", timeout_s=30)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "secret" not in caplog.text
