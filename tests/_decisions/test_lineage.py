from __future__ import annotations

from typing import Any

import pytest

from trunkline._decisions import lineage as module
from trunkline._decisions.lineage import Lineage, Way

from .callers import JSON, Service, asked, service, user


def said(text: str, name: str = "") -> JSON:
    """An answer, with the id that the service gave it."""
    message: JSON = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }
    return {**message, "id": name} if name else message


def reasoning(name: str) -> JSON:
    return {"type": "reasoning", "id": name, "summary": []}


def hosted(name: str | None, kind: str = "mcp_call") -> JSON:
    return {"type": kind, "id": name, "output": "a secret"} if name else {"type": kind, "output": "a secret"}


def call(call_id: str) -> JSON:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str) -> JSON:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


FIRST = [user("hello")]
SECOND = [user("hello"), said("hi"), user("more")]


@pytest.fixture
def talk() -> Service:
    return Service()


# Rule 4 and rule 3.


def test_the_first_request_begins_a_conversation(talk: Service) -> None:
    made = talk.turn(asked(FIRST), [said("hi")])
    assert made.place.way is Way.NEW
    assert made.mode == "full"


def test_an_equal_beginning_with_equal_fields_is_continued(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [reasoning("r"), said("hi")])
    second = talk.turn(asked(SECOND), [said("so")])
    assert second.place.way is Way.EQUAL
    assert second.mode == "delta"
    assert second.place.owner is first.place.owner
    assert repr(second.place) == "<Place EQUAL>"


@pytest.mark.parametrize(
    ("fields", "instructions"), [("temperature", ""), ("", "be brief")], ids=["field", "instructions"]
)
def test_other_fields_begin_another_conversation(talk: Service, fields: str, instructions: str) -> None:
    talk.turn(asked(FIRST), [said("hi", "msg_1")])
    second = talk.turn(asked(SECOND, fields=fields, instructions=instructions), [said("so")])
    assert second.place.way is Way.NEW
    assert second.mode == "full"


def test_a_request_without_instructions_does_not_continue_one_with_them(talk: Service) -> None:
    # The hash of its fields is that of the other fields of the first.
    talk.turn(asked(FIRST, instructions="a secret"), [said("hi")])
    assert talk.turn(asked(SECOND), [said("so")]).place.way is Way.NEW


@pytest.mark.parametrize(
    "items",
    [
        [user("hello!"), said("hi"), user("more")],
        [user("hello"), said("hey"), user("more")],
        [user("hello"), said("hi")],
        [user("hello"), user("more")],
        [user("hello")],
    ],
    ids=["edited", "other answer", "nothing new", "answer removed", "asked again"],
)
def test_an_input_that_does_not_extend_the_response_begins_anew(talk: Service, items: list[JSON]) -> None:
    talk.turn(asked(FIRST), [said("hi")])
    assert talk.turn(asked(items), [said("so")]).place.way is Way.NEW


def test_the_longest_earlier_input_counts(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi")])
    second = talk.turn(asked(SECOND), [said("so")])
    third = talk.turn(asked([*SECOND, said("so"), user("yet")]), [said("end")])
    assert third.place.parent is not None
    assert third.place.parent.id == second.id


def test_of_equal_requests_the_one_with_the_answer_of_the_input_is_continued(talk: Service) -> None:
    one = talk.turn(asked(FIRST), [said("hi")])
    talk.turn(asked(FIRST), [said("good day")])
    place = talk.begin(asked(SECOND))
    assert place.parent is not None
    assert place.parent.id == one.id


def test_of_equal_responses_one_that_nobody_continues_comes_first(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi")])
    talk.turn(asked(FIRST), [said("hi")])
    places = [talk.begin(asked(SECOND)) for _ in range(3)]
    assert [place.takes_over for place in places] == [True, True, False]
    assert len({place.owner for place in places}) == 3


def test_a_response_that_was_continued_is_forked(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    one = talk.turn(asked(SECOND), [said("so")])
    other = talk.turn(asked([*FIRST, said("hi"), user("else")]), [said("no")])
    assert other.place.way is Way.EQUAL
    assert other.mode == "delta"
    assert other.place.owner is not one.place.owner
    assert one.place.owner is first.place.owner


def test_a_place_that_was_given_up_can_be_taken_again(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    left = talk.begin(asked(SECOND))
    talk.lineage.give_up(left)
    again = talk.begin(asked(SECOND))
    assert left.owner is again.owner is first.place.owner
    talk.lineage.give_up(left)  # a second time changes nothing
    assert talk.begin(asked(SECOND)).owner is not again.owner


def test_a_place_is_not_given_up_after_its_response(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi")])
    second = talk.turn(asked(SECOND), [said("so")])
    talk.lineage.give_up(second.place)
    assert not talk.begin(asked(SECOND)).takes_over


def test_an_incomplete_response_is_continued_by_id_only_and_in_full(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")], is_complete=False)
    assert talk.turn(asked(SECOND), [said("so")]).place.way is Way.NEW
    by_id = talk.turn(asked([user("more")], parent_id=first.id), [said("so")])
    assert by_id.place.way is Way.ID
    assert by_id.mode == "full"
    again = talk.turn(asked([user("else")], parent_id=first.id), [said("so")])
    assert not again.place.takes_over


def test_the_number_of_comparisons_is_bounded(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi")])
    for _ in range(module.MAX_COMPARED):
        talk.turn(asked(FIRST), [said("good day")])
    assert talk.turn(asked(SECOND), [said("so")]).place.way is Way.NEW


def test_the_number_of_comparisons_with_other_instructions_is_bounded(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi", "msg_0")])
    for number in range(module.MAX_COMPARED):
        talk.turn(asked(FIRST), [said("good day", f"msg_{number + 1}")])
    second = asked([user("hello"), said("hi", "msg_0"), user("more")], instructions="other")
    assert talk.turn(second, [said("so")]).place.way is Way.NEW


# Tokens.


def with_token(name: str = "msg_1") -> list[JSON]:
    return [user("hello"), said("hi", name), user("more")]


def test_a_token_continues_under_other_instructions(talk: Service) -> None:
    talk.turn(asked(FIRST, instructions="one"), [said("hi", "msg_1")])
    second = talk.turn(asked(with_token(), instructions="two"), [said("so")])
    assert second.place.way is Way.TOKEN
    assert second.mode == "delta"


def test_encrypted_content_is_a_token(talk: Service) -> None:
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
    talk.turn(asked(FIRST, instructions="one"), [thought, said("hi")])
    second = [user("hello"), thought, said("hi"), user("more")]
    assert talk.turn(asked(second, instructions="two"), [said("so")]).place.way is Way.TOKEN


@pytest.mark.parametrize(("is_random", "way"), [(True, Way.TOKEN), (False, Way.NEW)])
def test_the_id_of_a_call_is_a_token_where_it_cannot_be_guessed(is_random: bool, way: Way) -> None:
    talk = Service(Lineage(has_random_call_ids=is_random))
    talk.turn(asked(FIRST, instructions="one"), [call("c")])
    second = asked([user("hello"), call("c"), output("c")], instructions="two")
    assert talk.turn(second, [said("so")]).place.way is way


def test_a_token_of_another_response_is_none(talk: Service) -> None:
    talk.turn(asked(FIRST, instructions="one"), [said("hi", "msg_1")])
    talk.turn(asked([user("bye")]), [said("hi", "msg_2")])
    assert talk.turn(asked(with_token("msg_2"), instructions="two"), [said("so")]).place.way is Way.NEW


def test_tokens_count_for_nothing_once_one_occurs_twice(talk: Service) -> None:
    talk.turn(asked(FIRST, instructions="one"), [said("hi", "msg_1")])
    talk.turn(asked([user("bye")]), [said("hi", "msg_1")])
    assert talk.turn(asked(with_token(), instructions="two"), [said("so")]).place.way is Way.NEW


def test_tokens_stay_needed_after_a_continuation_by_token(talk: Service) -> None:
    talk.turn(asked(FIRST, instructions="a secret"), [said("hi", "msg_1")])
    talk.turn(asked(with_token(), instructions="two"), [said("so", "msg_2")])
    guessed = [*SECOND, said("so"), user("yet")]
    assert talk.turn(asked(guessed, instructions="two"), [said("end")]).place.way is Way.NEW
    known = [*SECOND, said("so", "msg_2"), user("yet")]
    assert talk.turn(asked(known, instructions="two"), [said("end")]).place.way is Way.TOKEN
    # Also for a fork.
    assert talk.turn(asked(known, instructions="two"), [said("end")]).place.way is Way.TOKEN


def test_tokens_stay_needed_after_a_continuation_by_id_under_other_instructions(talk: Service) -> None:
    first = talk.turn(asked(FIRST, instructions="a secret"), [said("hi")])
    talk.turn(asked([user("more")], parent_id=first.id, instructions="two"), [said("so", "msg_2")])
    guessed = [*SECOND, said("so"), user("yet")]
    assert talk.turn(asked(guessed, instructions="two"), [said("end")]).place.way is Way.NEW


def test_a_token_that_is_handed_around_counts_once(talk: Service) -> None:
    talk.turn(asked(FIRST, instructions="one"), [said("hi", "msg_1")])
    talk.turn(asked(with_token(), instructions="two"), [said("so")])
    assert talk.turn(asked(with_token(), instructions="three"), [said("so")]).place.way is Way.NEW


# Hidden results.


def test_a_hosted_result_is_not_continued_by_equal_words(talk: Service) -> None:
    talk.turn(asked(FIRST), [hosted("mcp_1"), said("hi")])
    second = talk.turn(asked(SECOND), [said("so")])
    assert second.place.way is Way.NEW
    assert second.mode == "full"


def test_a_hosted_result_is_continued_by_its_id(talk: Service) -> None:
    talk.turn(asked(FIRST), [hosted("mcp_1"), said("hi")])
    second = [user("hello"), hosted("mcp_1"), said("hi"), user("more")]
    assert talk.turn(asked(second), [said("so")]).place.way is Way.EQUAL
    # It stays needed for the rest of the chain.
    assert talk.turn(asked([*SECOND, said("so"), user("yet")]), [said("end")]).place.way is Way.NEW


def test_all_hosted_results_of_a_chain_are_needed(talk: Service) -> None:
    talk.turn(asked(FIRST), [hosted("a"), hosted("b"), said("hi")])
    second = [user("hello"), hosted("a"), said("hi"), user("more")]
    assert talk.turn(asked(second), [said("so")]).place.way is Way.NEW


def test_a_hosted_result_without_an_id_is_never_continued(talk: Service) -> None:
    talk.turn(asked(FIRST), [hosted(None), said("hi")])
    second = [user("hello"), {**hosted(None), "id": 7}, said("hi"), user("more")]
    assert talk.turn(asked(second), [said("so")]).place.way is Way.NEW


@pytest.mark.parametrize("kind", ["tool_search_call", "web_search_call", "a_new_kind"])
def test_items_of_unknown_kinds_are_hidden_results(talk: Service, kind: str) -> None:
    made = talk.turn(asked(FIRST), [hosted("x", kind), said("hi")])
    assert talk.begin(asked([user("more")], parent_id=made.id)).way is Way.AS_GIVEN


def test_a_search_that_the_caller_answers_is_no_hidden_result(talk: Service) -> None:
    search = {"type": "tool_search_call", "call_id": "c", "arguments": "{}"}
    made = talk.turn(asked(FIRST), [search])
    assert talk.begin(asked([user("more")], parent_id=made.id)).way is Way.ID


# Rule 2.


def test_a_known_id_brings_its_whole_context(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [reasoning("r"), said("hi")])
    second = talk.turn(asked([user("more")], parent_id=first.id), [said("so")])
    assert second.place.way is Way.ID
    assert second.mode == "delta"
    assert [item.kind for item in second.place.context] == ["message", "reasoning", "message", "message"]
    third = talk.turn(asked([user("yet")], parent_id=second.id), [said("end")])
    assert len(third.place.context) == 6


def test_a_known_id_continues_under_other_instructions(talk: Service) -> None:
    first = talk.turn(asked(FIRST, instructions="one"), [said("hi")])
    second = talk.turn(asked([user("more")], parent_id=first.id, instructions="two"), [said("so")])
    assert second.mode == "delta"


def test_two_continuations_of_one_id_are_a_fork(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    one, other = (talk.begin(asked([user("more")], parent_id=first.id)) for _ in range(2))
    assert one.owner is not other.owner
    assert talk.end(one, [said("a")]).mode == talk.end(other, [said("b")]).mode == "delta"


def test_an_unknown_id_passes_as_given_and_is_not_recorded(talk: Service) -> None:
    made = talk.turn(asked(FIRST, parent_id="resp_unknown"), [said("hi")])
    assert made.place.way is Way.AS_GIVEN
    assert made.place.owner is None
    assert not made.place.names_unstored
    assert len(talk.lineage) == 0


def test_a_context_of_the_service_passes_as_given(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    made = talk.turn(asked(SECOND, has_context=True, parent_id=first.id, key="k"), [said("hi")])
    assert made.place.way is Way.AS_GIVEN
    assert len(talk.lineage) == 1


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        (FIRST, [hosted("mcp_1"), said("hi")]),
        ([*FIRST, hosted("mcp_1")], [said("hi")]),
        ([*FIRST, {"type": "item_reference", "id": "msg_1"}], [said("hi")]),
    ],
    ids=["hosted output", "hosted input", "reference"],
)
def test_an_id_passes_as_given_if_its_context_cannot_be_sent_again(
    talk: Service, items: list[JSON], answer: list[JSON]
) -> None:
    first = talk.turn(asked(items), answer)
    assert talk.begin(asked([user("more")], parent_id=first.id)).way is Way.AS_GIVEN


@pytest.mark.parametrize(("compacts", "way"), [(True, Way.EQUAL), (False, Way.NEW)])
def test_a_caller_that_lets_the_service_compact_need_not_keep_the_compaction(
    talk: Service, compacts: bool, way: Way
) -> None:
    compaction = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
    talk.turn(asked(FIRST, compacts=compacts), [compaction, said("hi")])
    assert talk.begin(asked(SECOND, compacts=compacts)).way is way


def test_after_a_compaction_the_context_starts_at_its_item(talk: Service) -> None:
    compaction = {"type": "compaction", "encrypted_content": "gAAAA"}
    first = talk.turn(asked(FIRST), [compaction, said("hi")])
    place = talk.begin(asked([user("more")], parent_id=first.id))
    assert [item.kind for item in place.context] == ["compaction", "message", "message"]


@pytest.mark.parametrize("is_stored", [True, False])
def test_it_is_known_whether_the_named_response_is_stored(talk: Service, is_stored: bool) -> None:
    first = talk.turn(asked(FIRST), [said("hi")], is_stored=is_stored)
    assert talk.begin(asked([user("more")], parent_id=first.id)).names_unstored is not is_stored


# Rule 1.


def test_turns_of_a_key_have_one_owner_whatever_their_fields(talk: Service) -> None:
    one = talk.turn(asked(FIRST, key="k", instructions="one"), [hosted("m"), said("hi")])
    other = talk.turn(asked(SECOND, key="k", instructions="two"), [said("so")])
    assert one.place.owner is other.place.owner
    assert other.place.way is Way.KEY
    assert other.mode == "delta"


def test_another_key_is_another_conversation(talk: Service) -> None:
    talk.turn(asked(FIRST, key="k"), [said("hi")])
    assert talk.turn(asked(SECOND, key="l"), [said("so")]).mode == "full"


def test_a_conversation_with_a_key_is_not_found_by_its_words(talk: Service) -> None:
    first = talk.turn(asked(FIRST, key="k"), [said("hi", "msg_1")])
    assert talk.turn(asked(with_token()), [said("so")]).place.way is Way.NEW
    # Nor is what continues it by id.
    talk.turn(asked([user("else")], parent_id=first.id), [said("so", "msg_2")])
    later = [user("hello"), said("hi", "msg_1"), user("else"), said("so", "msg_2"), user("yet")]
    assert talk.turn(asked(later), []).place.way is Way.NEW


def test_a_key_and_a_known_id_are_combined(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    second = talk.turn(asked([user("more")], parent_id=first.id, key="k"), [said("so")])
    assert second.place.way is Way.KEY
    assert second.mode == "delta"
    third = talk.turn(asked([user("yet")], parent_id=second.id, key="k"), [said("end")])
    assert third.mode == "delta"
    assert len(third.place.context) == 5


def test_a_key_and_an_incomplete_response_are_combined(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")], is_complete=False)
    assert talk.turn(asked([user("more")], parent_id=first.id, key="k"), [said("so")]).mode == "full"


def test_the_least_recently_used_key_is_forgotten() -> None:
    talk = service(max_keys=1)
    talk.turn(asked(FIRST, key="k"), [said("hi")])
    talk.turn(asked(FIRST, key="l"), [said("hi")])
    assert talk.turn(asked(SECOND, key="l"), [said("so")]).mode == "delta"
    assert talk.turn(asked(SECOND, key="k"), [said("so")]).mode == "full"


# Deletion.


def test_a_deleted_response_and_those_after_it_are_forgotten(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    second = talk.turn(asked(SECOND), [said("so")])
    talk.turn(asked([user("bye")]), [said("bye")])
    assert talk.lineage.knows(second.id)
    talk.lineage.forget(first.id)
    assert len(talk.lineage) == 1
    assert not talk.lineage.knows(second.id)
    assert talk.begin(asked([user("yet")], parent_id=second.id)).way is Way.AS_GIVEN
    assert talk.turn(asked([*SECOND, said("so"), user("yet")]), []).mode == "full"


def test_what_continues_a_deleted_response_is_not_recorded(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    running = talk.begin(asked(SECOND))
    talk.lineage.forget(first.id)
    talk.end(running, [said("so")])
    assert len(talk.lineage) == 0


def test_those_after_a_response_that_the_memory_dropped_are_forgotten_with_it() -> None:
    talk = service(max_responses=2)
    first = talk.turn(asked(FIRST), [said("hi")])
    second = talk.turn(asked([user("more")], parent_id=first.id), [said("so")])
    third = talk.turn(asked([user("yet")], parent_id=second.id), [said("end")])
    assert talk.begin(asked([user("x")], parent_id=first.id)).way is Way.AS_GIVEN  # dropped
    assert talk.begin(asked([user("x")], parent_id=third.id)).way is Way.ID
    talk.lineage.forget(first.id)
    assert len(talk.lineage) == 0
    assert talk.lineage.size_bytes == 0


def test_an_equal_response_stays_when_one_is_deleted(talk: Service) -> None:
    one, other = (talk.turn(asked(FIRST), [said("hi", "msg_1")]) for _ in range(2))
    talk.lineage.forget(other.id)
    place = talk.begin(asked(SECOND))
    assert place.parent is not None
    assert place.parent.id == one.id


def test_an_unknown_response_can_be_deleted(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi")])
    talk.lineage.forget("resp_unknown")
    assert len(talk.lineage) == 1


def test_an_id_that_comes_again_replaces_the_response_and_those_after_it(talk: Service) -> None:
    first = talk.turn(asked(FIRST), [said("hi")])
    second = talk.turn(asked(SECOND), [said("so")])
    talk.turn(asked([user("bye")]), [said("ciao")], response_id=first.id)
    assert talk.begin(asked([user("x")], parent_id=second.id)).way is Way.AS_GIVEN
    assert len(talk.begin(asked([user("x")], parent_id=first.id)).context) == 3


def test_a_response_without_an_id_is_not_recorded(talk: Service) -> None:
    talk.turn(asked(FIRST), [said("hi")], response_id="")
    assert len(talk.lineage) == 0


# Bounds.


def test_the_number_of_responses_is_bounded() -> None:
    talk = service(max_responses=3)
    for number in range(10):
        talk.turn(asked([user(str(number))]), [said("hi", f"msg_{number}")])
    assert len(talk.lineage) == 3


def test_the_bytes_are_bounded_and_counted_once_for_a_chain() -> None:
    talk = service(max_bytes=150_000)
    items: list[JSON] = []
    for number in range(30):
        items.append(user("x" * 1000))
        talk.turn(asked(items), [said("y" * 1000, f"msg_{number}")])
        items.append(said("y" * 1000, f"msg_{number}"))
    assert 90_000 < talk.lineage.size_bytes < 100_000  # each answer as received and as sent back
    assert len(talk.lineage) == 30


def test_a_chain_above_the_bound_is_forgotten_as_a_whole() -> None:
    talk = service(max_bytes=2000)
    items: list[JSON] = []
    for _ in range(5):
        items.append(user("x" * 1000))
        talk.turn(asked(items), [said("y")])
        items.append(said("y"))
        assert talk.lineage.size_bytes <= 2000
    assert talk.turn(asked([user("short")]), [said("hi")]).mode == "full"
    assert len(talk.lineage) >= 1


def test_the_context_counts_as_a_whole_if_the_memory_dropped_the_parent() -> None:
    talk = service(max_responses=1)
    talk.turn(asked([user("x" * 1000)]), [said("hi")])
    place = talk.begin(asked([user("x" * 1000), said("hi"), user("more")]))
    talk.turn(asked([user("bye")]), [said("bye")])
    talk.end(place, [said("so")])
    assert talk.lineage.size_bytes > 1000


def test_a_response_is_forgotten_after_idle_time() -> None:
    talk = service(idle_s=10.0)
    first = talk.turn(asked(FIRST), [said("hi", "msg_1")])
    talk.now = 9.0
    assert talk.begin(asked([user("x")], parent_id=first.id)).way is Way.ID  # a use
    talk.now = 18.0
    assert talk.begin(asked([user("x")], parent_id=first.id)).way is Way.ID
    talk.now = 28.0
    assert talk.begin(asked([user("x")], parent_id=first.id)).way is Way.AS_GIVEN
    assert talk.lineage.size_bytes == 0
    # Its tokens are forgotten as well: the service may not know them any more.
    talk.turn(asked([user("bye")]), [said("hi", "msg_1")])
    talk.turn(asked(FIRST, instructions="one"), [said("hi", "msg_2")])
    assert talk.turn(asked(with_token("msg_2"), instructions="two"), []).place.way is Way.TOKEN


def test_nothing_of_an_input_is_shown() -> None:
    talk = Service()
    request = asked([user("a secret")], key="a secret")
    place = talk.begin(request)
    shown: list[Any] = [request, place, talk.lineage]
    assert "secret" not in repr(shown)
