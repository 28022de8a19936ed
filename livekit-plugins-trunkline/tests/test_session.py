"""Whole sessions in text mode: what the model sees is what the session holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import Agent, function_tool
from livekit.agents.llm import ToolError
from livekit.agents.voice.run_result import RunResult
from livekit.plugins import trunkline
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import check_contexts, latest, new_items, responses, session_of

DELTA = "response.output_text.delta"
SEVEN_TURNS = (
    "Hello there",
    "What is the weather in Oslo?",
    "Fine",
    "And a table?",
    "Oh well",
    "The weather again",
    "Bye",
)


class Clerk(Agent):
    """An agent with tools."""

    def __init__(self, **options: Any) -> None:
        super().__init__(instructions="Be brief.", **options)

    @function_tool
    async def get_weather(self, city: str) -> str:
        """The weather in a city."""
        return f"12 degrees in {city}"

    @function_tool
    async def book_table(self, guests: int) -> str:
        """Book a table."""
        raise ToolError(f"no table for {guests}")

    @function_tool
    async def transfer(self) -> tuple[Agent, str]:
        """Hand over to a specialist."""
        return Agent(instructions="You are the specialist.", chat_ctx=self.chat_ctx), "You are connected."


def said(result: RunResult[Any]) -> str:
    """The last message of a run."""
    messages = [event.item for event in result.events if event.type == "message"]
    return messages[-1].text_content or ""


async def test_a_conversation_sends_what_is_new(emulator: Emulator, llm: trunkline.LLM) -> None:
    async with session_of(llm, Clerk()) as session:
        for words in ("Hello there", "How do you do", "Fine and you"):
            assert said(await session.run(user_input=words)) == f"You said: {words}"
            check_contexts(emulator, session)
    assert new_items(emulator) == [2, 1, 1]


async def test_tools_are_called_and_their_outputs_alone_are_sent(
    emulator: Emulator, llm: trunkline.LLM
) -> None:
    async with session_of(llm, Clerk()) as session:
        result: RunResult[Any] = await session.run(user_input="What is the weather in Oslo?")
        assert "12 degrees in Oslo" in said(result)
        check_contexts(emulator, session)
        await session.run(user_input="Thanks a lot")
        check_contexts(emulator, session)
    assert new_items(emulator) == [2, 1, 1]


async def test_calls_made_together_are_answered_together(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("cold").calls("get_weather", city="Oslo").calls("get_weather", city="Rome")
    async with session_of(llm, Clerk()) as session:
        result: RunResult[Any] = await session.run(user_input="Where is it cold?")
        assert "12 degrees in Rome" in said(result)
        check_contexts(emulator, session)
        await session.run(user_input="Thanks a lot")
        check_contexts(emulator, session)
    assert new_items(emulator) == [2, 2, 1]


async def test_text_before_a_call_is_part_of_the_answer(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("Rome").says("Let me look.").calls("get_weather", city="Rome")
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="And Rome?")
        check_contexts(emulator, session)
        await session.run(user_input="Thanks a lot")
        check_contexts(emulator, session)
    assert new_items(emulator) == [2, 1, 1]


async def test_a_failing_tool_tells_the_model(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("table").calls("book_table", guests=9)
    async with session_of(llm, Clerk()) as session:
        assert "no table for 9" in said(await session.run(user_input="A table please"))
        check_contexts(emulator, session)
    assert new_items(emulator) == [2, 1]


async def test_a_handoff_takes_the_context_along(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("human").calls("transfer")
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        await session.run(user_input="I want a human")
        assert session.current_agent.instructions == "You are the specialist."
        await session.run(user_input="Are you there now")
        check_contexts(emulator, session)
        assert latest(emulator).effective_context[0]["content"] == "You are the specialist."
        await session.run(user_input="Good to know")
        check_contexts(emulator, session)
    assert new_items(emulator)[-1] == 1


async def test_an_interrupted_answer_is_what_was_heard_of_it(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.expect("story").says("Once upon a time there was a train that nobody had ever seen before.")
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        emulator.faults.add("stall", event=9)
        told = session.generate_reply(user_input="Tell me a story")
        while session.agent_state != "speaking":
            await asyncio.sleep(0.01)
        session.interrupt()
        await told
        answered: RunResult[Any] = session.run(user_input="That is enough")
        assert said(await answered) == "You said: That is enough"
        check_contexts(emulator, session)
        (cut,) = [item for item in session.history.messages() if item.interrupted]
        assert 0 < len(cut.text_content or "") < 60
    first, _, after = responses(emulator)
    assert after.previous_response_id == first.id
    assert after.lane != first.lane


async def test_an_answer_interrupted_before_its_first_word_leaves_nothing(
    emulator: Emulator, llm: trunkline.LLM
) -> None:
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        emulator.faults.add("stall", event=3)
        asked = session.generate_reply(user_input="Tell me a story")
        while len(emulator.responses) < 2:
            await asyncio.sleep(0.01)
        session.interrupt()
        await asked
        await session.run(user_input="Never mind")
        check_contexts(emulator, session)


async def test_an_error_in_mid_answer_is_not_spoken_twice(
    emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        emulator.faults.add("drop", event_type=DELTA, event=6)
        await session.generate_reply(user_input="one two three four five six seven eight")
        await session.run(user_input="What happened there")
        check_contexts(emulator, session)
        heard = [item.text_content or "" for item in session.history.messages() if item.role == "assistant"]
    assert [error.recoverable for error in errors] == [False]
    assert "You said: one two three four".startswith(heard[1])
    assert heard[2:] == ["You said: What happened there"]
    assert len(responses(emulator)) == 3


async def test_a_socket_killed_between_turns_is_not_noticed(
    emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        await emulator.drop_connections()
        await session.run(user_input="Are you still there")
        check_contexts(emulator, session)
        await session.run(user_input="Good to hear")
        check_contexts(emulator, session)
    assert errors == []
    assert len(emulator.requests) == 3


HITS: dict[str, tuple[str, dict[str, Any]]] = {
    "the socket dies": ("drop", {"event_type": "response.created"}),
    "the connection is too old": ("connection_limit", {"event_type": "response.created"}),
    "the service is overloaded": ("reject", {"status": 503}),
    "the response fails": ("fail", {"event_type": "response.in_progress", "code": "server_error"}),
    "the error is flat": ("flat_error", {}),
}


@pytest.mark.parametrize("hit", HITS)
async def test_a_turn_that_is_hit_is_answered_once(hit: str, emulator: Emulator, llm: trunkline.LLM) -> None:
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        action, when = HITS[hit]
        emulator.faults.add(action, **when)
        if action == "flat_error":
            emulator.faults.add("reject", status=500, code="server_error")
        assert said(await session.run(user_input="How are you")) == "You said: How are you"
        check_contexts(emulator, session)
        await session.run(user_input="Good to hear")
        check_contexts(emulator, session)
        heard = [item.text_content for item in session.history.messages() if item.role == "assistant"]
    assert heard == ["You said: Hello there", "You said: How are you", "You said: Good to hear"]
    assert emulator.faults.fired


async def test_a_parent_that_is_lost_costs_one_full_request(
    emulator: Emulator, llm: trunkline.LLM, errors: list[Any]
) -> None:
    async with session_of(llm, Clerk()) as session:
        await session.run(user_input="Hello there")
        emulator.delete(latest(emulator).id)
        for words in ("How are you", "Good to hear"):
            await session.run(user_input=words)
            check_contexts(emulator, session)
    assert new_items(emulator) == [2, 1, 4, 1]
    assert errors == []


async def test_edits_in_place_are_seen(emulator: Emulator, llm: trunkline.LLM) -> None:
    async with session_of(llm, Clerk()) as session:
        for words in ("My card is 4111", "How do you do", "Fine and you"):
            await session.run(user_input=words)
        card = session.history.messages()[0]
        card.content[0] = "My card is ****"
        await session.run(user_input="Good to hear")
        check_contexts(emulator, session)
        await session.run(user_input="See you then")
    assert "4111" not in str(latest(emulator).effective_context[1])
    assert new_items(emulator)[-1] == 1


async def test_contexts_that_are_replaced_are_seen(emulator: Emulator, llm: trunkline.LLM) -> None:
    async with session_of(llm, Clerk()) as session:
        for words in ("Hello there", "How do you do", "Fine and you"):
            await session.run(user_input=words)
        kept = session.current_agent.chat_ctx.copy().truncate(max_items=3)
        await session.current_agent.update_chat_ctx(kept)
        await session.run(user_input="What did I say")
        check_contexts(emulator, session)
        await session.current_agent.update_instructions("Be verbose.")
        await session.run(user_input="And now please")
        check_contexts(emulator, session)
        await session.run(user_input="See you then")
        check_contexts(emulator, session)
    assert new_items(emulator)[-1] == 1


async def test_sessions_that_begin_with_equal_words_do_not_meet(
    emulator: Emulator, llm: trunkline.LLM
) -> None:
    async with session_of(llm, Clerk()) as one, session_of(llm, Clerk()) as other:
        for words in ("Hello there", "How do you do"):
            await one.run(user_input=words)
            await other.run(user_input=words)
    first, second = responses(emulator)[0::2], responses(emulator)[1::2]
    assert [made.previous_response_id for made in first] == [None, first[0].id]
    assert [made.previous_response_id for made in second] == [None, second[0].id]


async def test_many_sessions_share_few_sockets(emulator: Emulator, llm: trunkline.LLM) -> None:
    emulator.pace = Pace(0.2, None)

    async def call(number: int) -> None:
        async with session_of(llm, Clerk()) as session:
            for words in (f"Hello from {number}", "How do you do"):
                assert said(await session.run(user_input=words)) == f"You said: {words}"

    await asyncio.gather(*(call(number) for number in range(24)))
    assert len(emulator.connections) <= 3
    assert not any(request.error for request in emulator.requests)


async def test_every_turn_but_the_first_sends_one_item(emulator: Emulator, llm: trunkline.LLM) -> None:
    async with session_of(llm, Clerk()) as session:
        for words in SEVEN_TURNS:
            await session.run(user_input=words)
            check_contexts(emulator, session)
    assert new_items(emulator)[0] == 2
    assert set(new_items(emulator)[1:]) == {1}
