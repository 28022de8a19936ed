"""The silence of a peer: when it is pinged, doubted and given up, and what ends the silence."""

from __future__ import annotations

from trunkline._decisions.liveness import Liveness, Patience, Signs, Verdict

PATIENCE = Patience(ping_after_s=2.0, ping_idle_s=4.0, doubt_s=2.0, dead_s=3.0)
OPENED_AT = 100.0


class Peer:
    """A connection and its clock, looked at when `Liveness` requires it."""

    def __init__(self) -> None:
        self.now = OPENED_AT
        self.received = 0
        self.departed = 0
        self.is_leaving = False
        self.liveness = Liveness(PATIENCE, self.now)
        self.next_s = 0.0

    def look(self, waiting_since: float | None = None) -> Verdict:
        self.observe()
        verdict, self.next_s = self.liveness.judge(self.now, waiting_since)
        return verdict

    def observe(self) -> None:
        self.liveness.observe(Signs(self.received, self.departed, self.is_leaving), self.now)

    def until(self, verdict: Verdict, waiting_since: float | None = None) -> float:
        """The time of the first look with this verdict."""
        while self.look(waiting_since) is not verdict:
            self.now += self.next_s
        return self.now


def test_a_waiting_request_is_pinged_doubted_and_dead() -> None:
    peer = Peer()
    assert peer.look(waiting_since=OPENED_AT) is Verdict.ALIVE
    assert peer.until(Verdict.PING, OPENED_AT) == OPENED_AT + 2
    assert peer.look(OPENED_AT) is Verdict.PINGED
    assert peer.until(Verdict.DOUBTED, OPENED_AT) == OPENED_AT + 4
    assert peer.until(Verdict.DEAD, OPENED_AT) == OPENED_AT + 5
    assert peer.liveness.answer_within_s == PATIENCE.dead_s


def test_an_idle_connection_is_pinged_later_and_dead_within_seven_seconds() -> None:
    peer = Peer()
    assert peer.until(Verdict.PING) == OPENED_AT + 4
    assert peer.until(Verdict.DEAD) == OPENED_AT + 7


def test_a_request_on_a_connection_that_was_long_silent_has_its_own_time() -> None:
    peer = Peer()
    peer.now += 3.5
    assert peer.look(waiting_since=OPENED_AT + 3.0) is Verdict.ALIVE
    assert peer.until(Verdict.PING, OPENED_AT + 3.0) == OPENED_AT + 5


def test_the_next_look_is_soon_enough_for_a_request_that_is_sent_after_this_one() -> None:
    peer = Peer()
    peer.look()
    assert peer.next_s == 2.0


def test_any_byte_ends_the_silence_in_every_state() -> None:
    for state in (Verdict.PING, Verdict.DOUBTED):
        peer = Peer()
        peer.until(state, OPENED_AT)
        peer.received += 1
        assert peer.look(OPENED_AT) is Verdict.ALIVE
        # It may have arrived right after the look before.
        assert peer.until(Verdict.PING, OPENED_AT) >= peer.liveness.heard_at + 2
        assert peer.until(Verdict.DEAD, OPENED_AT) >= peer.liveness.heard_at + 5


def test_a_request_that_leaves_stops_both_clocks() -> None:
    peer = Peer()
    peer.is_leaving = True
    for _ in range(40):  # twenty seconds of a slow uplink
        assert peer.look(OPENED_AT) is Verdict.ALIVE
        assert peer.next_s <= 0.5
        peer.departed += 4000
        peer.now += peer.next_s
    left_at = peer.now
    assert peer.liveness.departed_at == left_at - 0.5
    peer.is_leaving = False
    peer.look(OPENED_AT)
    assert peer.liveness.departed_at == left_at
    assert peer.until(Verdict.PING, OPENED_AT) == left_at + 2


def test_a_ping_that_waits_behind_a_request_has_more_time() -> None:
    peer = Peer()
    pinged_at = peer.until(Verdict.PING, OPENED_AT)
    peer.is_leaving = True
    peer.look(OPENED_AT)
    peer.now += 2.5
    peer.departed += 4000
    peer.look(OPENED_AT)
    assert peer.until(Verdict.DEAD, OPENED_AT) == pinged_at + 2.5 + 3


def test_bytes_that_are_stuck_stop_no_clock() -> None:
    peer = Peer()
    peer.is_leaving = True
    assert peer.until(Verdict.DEAD, OPENED_AT) == OPENED_AT + 5


def test_an_acknowledgement_of_a_request_that_had_left_is_no_progress() -> None:
    peer = Peer()
    peer.now += 1
    peer.look(OPENED_AT)
    peer.departed += 200
    peer.now += 0.5
    peer.look(OPENED_AT)
    assert peer.liveness.departed_at == OPENED_AT


def test_a_question_is_answered_within_the_time_of_doubt() -> None:
    peer = Peer()
    assert peer.liveness.question(peer.now)
    assert peer.until(Verdict.DEAD) == OPENED_AT + 2
    assert peer.liveness.answer_within_s == PATIENCE.doubt_s


def test_a_question_while_a_ping_is_open_needs_no_other_ping() -> None:
    peer = Peer()
    pinged_at = peer.until(Verdict.PING, OPENED_AT)
    assert not peer.liveness.question(peer.now)
    assert peer.until(Verdict.DEAD, OPENED_AT) == pinged_at + 2


def test_an_answered_question_restores_the_time_limit() -> None:
    peer = Peer()
    peer.liveness.question(peer.now)
    peer.received += 1
    peer.observe()
    assert peer.liveness.answer_within_s == PATIENCE.dead_s


def test_looks_are_never_more_frequent_than_a_hundred_times_a_second() -> None:
    patience = Patience(ping_after_s=0.001, ping_idle_s=0.001, doubt_s=0.001, dead_s=0.001)
    assert patience.look_s == patience.idle_look_s == 0.01


def test_a_time_in_which_the_process_did_not_run_proves_nothing() -> None:
    peer = Peer()
    assert peer.until(Verdict.PING, OPENED_AT) == OPENED_AT + 2
    peer.now += 100
    peer.observe()
    peer.liveness.pardon(100 - peer.next_s)
    assert peer.liveness.judge(peer.now, OPENED_AT)[0] is Verdict.PINGED
    pinged_at = OPENED_AT + 2 + 100 - PATIENCE.look_s
    assert peer.until(Verdict.DEAD, OPENED_AT) == pinged_at + PATIENCE.dead_s


def test_silence_before_such_a_time_still_counts() -> None:
    peer = Peer()
    peer.now += 101
    peer.observe()
    peer.liveness.pardon(100)
    assert peer.until(Verdict.PING, OPENED_AT + 100) == OPENED_AT + 102
