from __future__ import annotations

import pytest

from trunkline._protocol.history import History
from trunkline._protocol.items import Item
from trunkline.errors import ConversationBusy, UsageError
from trunkline.transcript import Claim, Ending, Transcript

from .talk import texts, user


class Turn:
    is_ended = False

    def close(self) -> None:
        self.is_ended = True


def test_a_transcript_is_held_by_one_turn_until_that_ends() -> None:
    transcript = Transcript(History.of([Item.of(user("one"))]))
    first, second = Turn(), Turn()
    transcript.claim(first)
    with pytest.raises(ConversationBusy):
        transcript.claim(second)
    first.close()
    transcript.claim(second)
    with pytest.raises(ConversationBusy):
        transcript.check_idle()


def test_a_dropped_turn_no_longer_holds_the_transcript() -> None:
    transcript = Transcript(History())
    turn = Turn()
    transcript.claim(turn)
    del turn
    transcript.check_idle()


def received(transcript: Transcript, words: str, text: str) -> Ending:
    """The end of a turn that was closed early."""
    context = transcript.history.extended([Item.of(user(words))])
    return Ending(answer=None, context=context, text=text, steers=[])


def dropped_in_mid_answer(transcript: Transcript) -> tuple[Claim, Ending]:
    """A turn of which only the end, in its event loop, is still to come."""
    turn = Turn()
    claim = transcript.claim(turn)
    ending = received(transcript, "first", "one")
    del turn
    return claim, ending


def test_a_dropped_turn_that_ends_before_anything_else_is_kept() -> None:
    transcript = Transcript(History())
    transcript.end(*dropped_in_mid_answer(transcript))
    assert texts(transcript.history.json()) == ["user: first", "assistant: one"]


def test_a_dropped_turn_that_ends_after_the_next_one_changes_nothing() -> None:
    transcript = Transcript(History())
    claim, ending = dropped_in_mid_answer(transcript)
    following = Turn()
    latest = transcript.claim(following)
    transcript.end(latest, received(transcript, "second", "two"))
    transcript.end(claim, ending)
    transcript.add_outputs(claim, [Item.of(user("no output"))])
    assert texts(transcript.history.json()) == ["user: second", "assistant: two"]
    following.close()
    transcript.heard_of(latest, "tw")
    with pytest.raises(UsageError, match="too late"):
        transcript.heard_of(claim, "on")
    assert texts(transcript.history.json()) == ["user: second", "assistant: tw"]


def test_a_dropped_turn_that_ends_after_a_replacement_changes_nothing() -> None:
    transcript = Transcript(History())
    claim, ending = dropped_in_mid_answer(transcript)
    transcript.replace(History.of([Item.of(user("another history"))]))
    transcript.end(claim, ending)
    assert texts(transcript.history.json()) == ["user: another history"]


def test_a_dropped_turn_that_ends_after_heard_changes_nothing() -> None:
    transcript = Transcript(History())
    turn = Turn()
    transcript.end(transcript.claim(turn), received(transcript, "zeroth", "none"))
    turn.close()
    claim, ending = dropped_in_mid_answer(transcript)
    transcript.heard("no")
    transcript.end(claim, ending)
    assert texts(transcript.history.json()) == ["user: zeroth", "assistant: no"]


def test_a_warm_up_adds_nothing_and_holds_the_transcript_during_heard() -> None:
    transcript = Transcript(History())
    turn, warm_up = Turn(), Turn()
    transcript.end(transcript.claim(turn), received(transcript, "first", "one"))
    turn.close()
    claim = transcript.claim(warm_up, warms_up=True)
    transcript.heard("on")
    with pytest.raises(ConversationBusy):
        transcript.check_idle()
    warm_up.close()
    transcript.end(claim, received(transcript, "nothing", ""))
    assert texts(transcript.history.json()) == ["user: first", "assistant: on"]
