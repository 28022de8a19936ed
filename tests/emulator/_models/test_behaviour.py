"""Prepared replies."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from trunkline.emulator import Emulator, Prompt, Say, Step

from ..wire import WEATHER, Socket, Wire, calls_of, output, text_of


async def test_a_reply_is_given_to_the_input_it_was_laid_down_for(emulator: Emulator, socket: Socket) -> None:
    with (
        emulator.expect("weather").calls("get_weather", city="Oslo").calls("get_weather", city="Rome"),
        emulator.expect(re.compile(r"\d+ degrees")).reasons("Hm.").says("It is mild."),
    ):
        other = await socket.response(model="echo", input="hello")
        first = await socket.response(model="echo", input="the weather?", tools=[WEATHER])
        outputs = [output(call) for call in calls_of(first)]
        second = await socket.response(model="echo", input=outputs, previous_response_id=first["id"])
    assert text_of(other) == "hello"
    assert [call["arguments"] for call in calls_of(first)] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    assert text_of(second) == "It is mild."
    assert second["output"][0]["type"] == "reasoning"


async def test_an_expectation_that_is_not_met_fails_the_test(emulator: Emulator, socket: Socket) -> None:
    with (
        pytest.raises(AssertionError, match="contains 'never', 1 times> was used 0 times"),
        emulator.expect("never"),
    ):
        await socket.response(input="hello")
    # It was withdrawn.
    assert text_of(await socket.response(input="never")) == "never"


async def test_it_is_used_as_often_as_said(emulator: Emulator, socket: Socket) -> None:
    with emulator.expect(times=2).says("scripted") as expectation:
        texts = [text_of(await socket.response(input="real")) for _ in range(3)]
    assert texts == ["scripted", "scripted", "real"]
    assert [prompt.user_text for prompt in expectation.prompts] == ["real", "real"]
    with emulator.expect(times=None, model="other").says("scripted"):
        assert text_of(await socket.response(input="real")) == "real"
        assert text_of(await socket.response(model="other", input="real")) == "scripted"


async def test_failures_and_refusals_can_be_scripted(emulator: Emulator, wire: Wire, socket: Socket) -> None:
    emulator.expect("boom").fails("server_error")
    event = await socket.turn(input="boom")
    assert event["response"]["error"]["code"] == "server_error"
    emulator.expect("busy").rejects(429, "rate_limit_exceeded")
    assert (await socket.refused(input="busy"))["status"] == 429
    emulator.expect("bad").refuses("I will not.")
    refused = await socket.response(input="bad")
    assert refused["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]
    emulator.expect("shell").calls_custom("shell", "ls")
    assert (await socket.response(input="shell"))["output"][0]["input"] == "ls"


async def test_a_model_that_raises_fails_its_response_only(
    emulator: Emulator, socket: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(prompt: Prompt) -> list[Step]:
        raise KeyError("of the test")

    def raises_later(prompt: Prompt) -> Iterator[Step]:
        yield Say(["One"])
        raise KeyError("of the test")

    emulator.add_model("raises", raises)
    emulator.add_model("raises-later", raises_later)
    error = await socket.refused(model="raises", input="x")
    assert (error["status"], error["code"]) == (500, "server_error")
    failed = await socket.turn(model="raises-later", input="x")
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "The model raised KeyError."}
    assert [record.getMessage() for record in caplog.records] == [
        "the model raises raised an exception",
        "the model raises-later raised an exception",
    ]
    await socket.response(input="x")
