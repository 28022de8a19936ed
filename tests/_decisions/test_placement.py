from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from trunkline._decisions.baselines import Baseline, Plan
from trunkline._decisions.placement import Asking, Bounds, Owner, Placement, Seat, assign, can_continue
from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ReceivedEvent
from trunkline._protocol.history import History
from trunkline._protocol.items import Item
from trunkline._protocol.lane import Lane, Run
from trunkline._protocol.lanes import Lanes


def lanes_of(lane: Lane) -> Lanes:
    """All lanes of a lane's connection."""
    assert isinstance(lane.lanes, Lanes)
    return lane.lanes


class Connection:
    """A connection, as placement sees it."""

    def __init__(self, *, named: bool = True, is_ready: bool = True, **limits: int) -> None:
        self._lanes = Lanes(named=named, **limits)
        self.ready = is_ready

    @property
    def lanes(self) -> Lanes:
        return self._lanes

    @property
    def is_ready(self) -> bool:
        return self.ready

    takes_turns = True


class Sink:
    is_over = False

    def deliver(self, event: ReceivedEvent) -> None: ...

    def on_keep_alive(self) -> None: ...

    def deliver_delta(self, event: ReceivedEvent) -> None: ...

    def fail(self, failure: Any) -> None: ...


class Taken:
    """A seat whose lane exists."""

    def __init__(self, seat: Seat) -> None:
        lane = seat.lane or seat.group.new_lane()  # type: ignore[attr-defined]
        assert lane is not None
        self.lane: Lane = lane
        self.plan, self.fork_of = seat.plan, seat.fork_of


def place(
    owner: Owner | None,
    asked: History,
    plans: list[Plan],
    connections: list[Connection],
    *,
    may_evict: bool = True,
) -> Taken | None:
    """The seat of a turn when no other connection may be dialled."""
    bounds = Bounds(may_dial=False, may_evict=may_evict, max_draining=99)
    seat = assign(Asking(owner, asked, plans), connections, bounds).seat
    return Taken(seat) if seat is not None else None


ASKED = History.of([Item.of({"role": "user", "content": text}) for text in "abc"])


def sit(owner: Owner | None, seat: Taken) -> Run:
    """Take the seat, as a pool does."""
    run = lanes_of(seat.lane).reserve(seat.lane, Sink(), fork_of=seat.fork_of)
    seat.lane.settle(owner)
    if owner is not None:
        owner.home = seat.lane
    return run


def tell(run: Run, kind: str, response_id: str, stored: bool = False) -> None:
    lane = f'"stream_id":"{run.lane.name}",' if run.lane.name is not None else ""
    store = "true" if stored else "false"
    frame = f'{{"type":"response.{kind}",{lane}"response":{{"id":"{response_id}","store":{store}}}}}'
    assert lanes_of(run.lane).route(decode(frame.encode())) is run


def finish(owner: Owner | None, run: Run, response_id: str, stored: bool = False) -> Baseline:
    """Send and complete the run, and commit its response as a baseline."""
    if not run.was_sent:
        lanes_of(run.lane).sending(run)
    tell(run, "created", response_id)
    tell(run, "completed", response_id, stored)
    kept = Baseline(response_id, "m", stored, run.lane, 1, ASKED.prefix(1).mark, ())
    if owner is not None and run.sink is not None:
        owner.baselines.commit(kept)
    return kept


def turn(owner: Owner | None, connections: list[Connection], **options: Any) -> Taken:
    seat = place(owner, ASKED, plans(owner), connections, **options)
    assert seat is not None
    return seat


def plans(owner: Owner | None) -> list[Plan]:
    if owner is None:
        return []
    kept = reversed(list(owner.baselines))
    return [Plan(baseline, ASKED.items(1)) for baseline in kept if can_continue(baseline)]


def answered(connection: Connection, response_id: str = "r", stored: bool = False) -> tuple[Owner, Baseline]:
    """An owner with a home lane and a completed response on this connection."""
    owner = Owner()
    return owner, finish(owner, sit(owner, turn(owner, [connection])), response_id, stored)


# Parents


def test_a_stored_parent_is_named_from_anywhere() -> None:
    connection, other = Connection(), Connection()
    owner, parent = answered(connection, stored=True)
    connection.lanes.close()
    assert can_continue(parent)
    seat = turn(owner, [other])
    assert seat.plan.parent is parent
    assert seat.lane.lanes is other.lanes
    assert seat.fork_of is None


def test_an_unstored_parent_is_continued_on_its_own_lane() -> None:
    connection, other = Connection(), Connection()
    owner, parent = answered(connection)
    seat = turn(owner, [other, connection])
    assert (seat.plan.parent, seat.lane, seat.fork_of) == (parent, parent.lane, None)


def test_an_unstored_parent_on_a_lane_of_another_owner_is_forked_on_the_same_connection() -> None:
    connection, other = Connection(), Connection()
    owner, parent = answered(connection)
    branch = Owner(owner.baselines.copy())
    seat = turn(branch, [other, connection])
    assert seat.plan.parent is parent
    assert seat.lane.lanes is connection.lanes
    assert seat.lane is not parent.lane
    assert seat.fork_of is parent.lane


def test_a_parent_that_holds_a_steer_is_continued_on_its_own_lane_or_not_at_all() -> None:
    connection = Connection()
    owner, parent = answered(connection)
    pinned = replace(parent, pinned=True)
    branch = Owner()
    assert owner is not branch
    for who, expected in ((owner, pinned), (branch, None)):
        seat = place(who, ASKED, [Plan(pinned, ASKED.items(1))], [connection])
        assert seat is not None
        assert seat.plan.parent is expected
        assert (seat.lane is parent.lane) == (expected is not None)


def test_until_a_fork_is_in_progress_its_source_takes_no_turn() -> None:
    connection = Connection()
    owner, parent = answered(connection)
    run = sit(branch := Owner(owner.baselines.copy()), turn(branch, [connection]))
    second = turn(owner, [connection])
    assert second.lane is not parent.lane
    assert second.fork_of is parent.lane
    connection.lanes.sending(run)
    tell(run, "in_progress", "fork")
    assert turn(owner, [connection]).lane is parent.lane


def test_a_lane_on_which_a_later_create_was_sent_is_no_parent_any_more() -> None:
    connection = Connection()
    owner, parent = answered(connection)
    run = sit(owner, turn(owner, [connection]))
    assert not can_continue(parent)
    connection.lanes.sending(run)
    assert not can_continue(parent)
    assert turn(Owner(owner.baselines.copy()), [connection]).plan.is_full
    tell(run, "failed", "later")
    assert not can_continue(parent)
    assert turn(owner, [connection]).plan.is_full


def test_a_parent_on_a_closed_or_retired_connection_is_sent_in_full_elsewhere() -> None:
    connection, other = Connection(), Connection()
    owner, parent = answered(connection)
    retired = place(owner, ASKED, [Plan(parent, ASKED.items(1))], [other])
    assert retired is not None
    assert retired.plan.is_full
    assert list(retired.plan.delta) == ASKED.items()
    connection.lanes.close()
    assert not can_continue(parent)
    assert place(owner, ASKED, [Plan(parent, ASKED.items(1))], [connection]) is None


def test_a_parent_of_another_transport_is_named_only_when_stored() -> None:
    assert can_continue(Baseline("r", "m", True, None, 1, ASKED.mark, ()))
    assert not can_continue(Baseline("r", "m", False, None, 1, ASKED.mark, ()))


def test_the_next_longest_parent_is_taken_when_the_longest_has_no_seat() -> None:
    full, roomy = Connection(max_in_flight=1), Connection()
    owner, longest = answered(full, "long")
    sit(None, turn(None, [full]))
    owner.home = None
    shorter = finish(owner, sit(owner, turn(owner, [roomy])), "short")
    candidates = [Plan(longest, ASKED.items(2)), Plan(shorter, ASKED.items(1))]
    seat = place(owner, ASKED, candidates, [full, roomy])
    assert seat is not None
    assert seat.plan.parent is shorter
    assert seat.lane is shorter.lane


def test_of_stored_and_unstored_parents_the_first_candidate_that_has_a_seat_is_taken() -> None:
    connection = Connection()
    owner, unstored = answered(connection, "unstored")
    stored = Baseline("stored", "m", True, None, 1, ASKED.mark, ())
    for order in ([unstored, stored], [stored, unstored]):
        seat = place(owner, ASKED, [Plan(parent, ASKED.items(1)) for parent in order], [connection])
        assert seat is not None
        assert seat.plan.parent is order[0]


# Which lane


def test_a_conversation_returns_to_its_home_lane_if_it_is_free() -> None:
    busy, home = Connection(), Connection()
    for _ in range(3):
        sit(None, turn(None, [busy]))
    owner, parent = answered(home, stored=True)
    assert turn(owner, [busy, home]).lane is parent.lane


def test_while_an_abandoned_answer_drains_the_next_turn_takes_another_lane_of_the_same_connection() -> None:
    connection, other = Connection(), Connection()
    owner = Owner()
    run = sit(owner, turn(owner, [connection]))
    connection.lanes.sending(run)
    connection.lanes.abandon(run, 0.0)
    for _ in range(3):
        sit(None, turn(None, [other]))
    seat = turn(owner, [other, connection])
    assert seat.lane is not run.lane
    assert seat.lane.lanes is connection.lanes


def test_after_an_abandoned_answer_the_older_stored_parent_is_named() -> None:
    connection = Connection()
    owner, parent = answered(connection, stored=True)
    run = sit(owner, turn(owner, [connection]))
    connection.lanes.sending(run)
    connection.lanes.abandon(run, 0.0)
    assert turn(owner, [connection]).plan.parent is parent


def test_an_owner_whose_home_was_taken_finds_another_lane() -> None:
    connection = Connection(max_names=2)
    first, _ = answered(connection, "one")
    second, _ = answered(connection, "two")
    third = Owner()
    sit(third, turn(third, [connection]))
    assert first.home is not None
    assert first.home.owner is third
    seat = turn(first, [connection])
    assert seat.plan.is_full
    assert seat.lane is second.home


def test_an_owner_does_not_return_to_a_home_of_another_owner() -> None:
    connection = Connection()
    first, _ = answered(connection, "one")
    second = Owner()
    assert first.home is not None
    finish(second, sit(second, Taken(Seat(first.home.lanes, first.home, Plan(None, [])))), "two")
    assert turn(first, [connection]).lane is not first.home
    assert turn(second, [connection]).lane is first.home


def test_a_connection_where_this_owner_was_answered_comes_before_a_fuller_one() -> None:
    warm, full = Connection(), Connection()
    owner, _ = answered(warm, stored=True)
    owner.home = None
    for _ in range(3):
        sit(None, turn(None, [full]))
    assert turn(owner, [full, warm]).lane.lanes is warm.lanes
    assert turn(Owner(), [full, warm]).lane.lanes is full.lanes


def test_new_owners_fill_the_fullest_connection_that_has_room() -> None:
    empty, half, full = Connection(), Connection(), Connection(max_in_flight=3)
    for _ in range(3):
        sit(None, turn(None, [full]))
    for _ in range(2):
        sit(None, turn(None, [half]))
    assert turn(None, [empty, half, full]).lane.lanes is half.lanes


def test_a_connection_that_is_being_dialled_comes_last() -> None:
    dialling, ready = Connection(is_ready=False), Connection()
    for _ in range(2):
        sit(None, turn(None, [dialling]))
    assert turn(None, [dialling, ready]).lane.lanes is ready.lanes
    assert turn(None, [dialling]).lane.lanes is dialling.lanes


def test_without_room_a_new_connection_is_needed() -> None:
    connection = Connection(max_in_flight=1)
    assert place(None, ASKED, [], []) is None
    sit(None, turn(None, [connection]))
    assert place(Owner(), ASKED, [], [connection]) is None


def test_lanes_are_used_again_before_new_names_are() -> None:
    connection = Connection()
    run = sit(None, turn(None, [connection]))
    connection.lanes.withdraw(run)
    assert turn(None, [connection]).lane is run.lane


# Eviction


def test_the_least_recently_used_lane_whose_owner_loses_nothing_is_taken_first() -> None:
    connection = Connection(max_names=3)
    _unstored = answered(connection, "one")
    older, _ = answered(connection, "two", stored=True)
    _newer = answered(connection, "three", stored=True)
    assert turn(Owner(), [connection]).lane is older.home


def test_if_every_owner_would_lose_the_least_recently_used_lane_is_taken() -> None:
    connection = Connection(max_names=2)
    older, _ = answered(connection, "one")
    newer, _ = answered(connection, "two")
    assert turn(Owner(), [connection]).lane is older.home
    finish(older, sit(older, turn(older, [connection])), "three")
    assert turn(Owner(), [connection]).lane is newer.home


def test_an_owner_with_an_unstored_answer_keeps_its_lane_if_another_connection_may_be_dialled() -> None:
    connection = Connection(max_names=1)
    owner, _ = answered(connection)
    assert place(Owner(), ASKED, [], [connection], may_evict=False) is None
    assert place(Owner(), ASKED, [], [connection]) is not None
    branch = Owner(owner.baselines.copy())
    two = Connection(max_names=2)
    source, parent = answered(two, "one")
    _neighbour = answered(two, "two")
    branch = Owner(source.baselines.copy())
    kept = place(branch, ASKED, [Plan(parent, ASKED.items(1))], [two], may_evict=False)
    assert kept is None
    forked = place(branch, ASKED, [Plan(parent, ASKED.items(1))], [two])
    assert forked is not None
    assert forked.fork_of is parent.lane


def test_a_lane_is_free_once_its_owner_is_collected() -> None:
    connection = Connection(max_names=1)
    owner, parent = answered(connection)
    assert place(Owner(), ASKED, [], [connection], may_evict=False) is None
    del owner
    seat = place(Owner(), ASKED, [], [connection], may_evict=False)
    assert seat is not None
    assert seat.lane is parent.lane


def test_a_busy_lane_is_never_taken() -> None:
    connection = Connection(max_names=1)
    run = sit(Owner(), turn(None, [connection]))
    assert place(Owner(), ASKED, [], [connection]) is None
    connection.lanes.withdraw(run)
    assert place(Owner(), ASKED, [], [connection]) is not None


def test_without_names_a_connection_serves_one_conversation_at_a_time() -> None:
    first, second = Connection(named=False), Connection(named=False)
    owner = Owner()
    run = sit(owner, turn(owner, [first]))
    assert place(Owner(), ASKED, [], [first]) is None
    assert turn(Owner(), [first, second]).lane.lanes is second.lanes
    parent = finish(owner, run, "r")
    assert turn(owner, [first, second]).lane is parent.lane
    branch = Owner(owner.baselines.copy())
    assert turn(branch, [first, second], may_evict=False).plan.is_full


def test_a_turn_without_an_owner_takes_no_home() -> None:
    connection = Connection(max_names=1)
    finish(None, sit(None, turn(None, [connection])), "r")
    assert place(Owner(), ASKED, [], [connection], may_evict=False) is not None


# A random walk: the protocol allows every seat


class Walk(RuleBasedStateMachine):
    @initialize(named=st.booleans(), names=st.integers(1, 4), in_flight=st.integers(1, 3))
    def begin(self, named: bool, names: int, in_flight: int) -> None:
        self.named = named
        self.max_names, self.max_in_flight = names, in_flight
        self.connections = [self.new_connection()]
        self.owners: list[Owner] = [Owner() for _ in range(4)]
        self.running: list[tuple[Owner | None, Run]] = []
        self.responses = 0

    def new_connection(self) -> Connection:
        return Connection(named=self.named, max_names=self.max_names, max_in_flight=self.max_in_flight)

    @rule(who=st.none() | st.integers(0, 9), may_evict=st.booleans(), send=st.booleans())
    def ask(self, who: int | None, may_evict: bool, send: bool) -> None:
        owner = None if who is None else self.owners[who % len(self.owners)]
        candidates = plans(owner)
        seat = place(owner, ASKED, candidates, self.connections, may_evict=may_evict)
        if seat is None:
            self.check_nothing_was_free(may_evict)
            self.connections.append(self.new_connection())
            seat = turn(owner, self.connections)
        self.check(owner, seat, candidates)
        run = sit(owner, seat)
        self.running.append((owner, run))
        if send:
            lanes_of(run.lane).sending(run)

    def check(self, owner: Owner | None, seat: Taken, candidates: list[Plan]) -> None:
        lane, parent = seat.lane, seat.plan.parent
        assert any(connection.lanes is lane.lanes for connection in self.connections)
        assert lane.lanes.has_room
        assert lane.lanes.in_flight < self.max_in_flight
        assert lane.is_idle
        assert lane in list(lane.lanes)
        assert (lane.name is not None) is self.named
        assert len(list(lane.lanes)) <= self.max_names
        if parent is None:
            assert seat.fork_of is None
            assert list(seat.plan.delta) == ASKED.items()
        else:
            assert seat.plan in candidates
            assert can_continue(parent)
        if parent is not None and not parent.stored:
            source = parent.lane
            assert isinstance(source, Lane)
            assert source.lanes is lane.lanes
            assert source.latest == parent.response_id
            assert not source.runs
            assert seat.fork_of is (source if lane is not source else None)
            assert lane is not source or lane.owner in (owner, None)
        elif parent is not None:
            assert seat.fork_of is None

    def check_nothing_was_free(self, may_evict: bool) -> None:
        for connection in self.connections:
            free = [lane for lane in connection.lanes if lane.is_idle]
            if not connection.lanes.has_room:
                continue
            assert len(list(connection.lanes)) == connection.lanes.max_names
            assert not any(may_evict or lane.owner is None or lane.latest is None for lane in free)
            assert not any(lane.latest_is_stored for lane in free)

    @rule(which=st.integers(0, 9), stored=st.booleans())
    def answer(self, which: int, stored: bool) -> None:
        if self.running:
            owner, run = self.running.pop(which % len(self.running))
            self.responses += 1
            finish(owner, run, f"r{self.responses}", stored)

    @rule(which=st.integers(0, 9))
    def leave(self, which: int) -> None:
        if self.running:
            _, run = self.running[which % len(self.running)]
            lanes_of(run.lane).abandon(run, 0.0)
            self.running = [(owner, run) for owner, run in self.running if not run.is_over]

    @rule(who=st.integers(0, 9))
    def branch(self, who: int) -> None:
        self.owners.append(Owner(self.owners[who % len(self.owners)].baselines.copy()))

    @rule(who=st.integers(0, 9))
    def go_away(self, who: int) -> None:
        self.owners[who % len(self.owners)] = Owner()

    @rule(which=st.integers(0, 9), ready=st.booleans())
    def dial(self, which: int, ready: bool) -> None:
        self.connections[which % len(self.connections)].ready = ready

    @rule(which=st.integers(0, 9), at_once=st.booleans())
    def lose(self, which: int, at_once: bool) -> None:
        """A connection is lost, or takes no new turns."""
        connection = self.connections.pop(which % len(self.connections))
        if at_once:
            connection.lanes.close()
        self.running = [(owner, run) for owner, run in self.running if not run.is_over]
        self.connections.append(self.new_connection())


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# Dials and waiting turns


FREE = Bounds(may_dial=True, may_evict=True, max_draining=1)
FULL = Bounds(may_dial=False, may_evict=True, max_draining=1)
STRANGER = Asking(None, ASKED, [])


def draining(connection: Connection) -> Connection:
    """A connection on which an abandoned answer drains."""
    lane = connection.lanes.new_lane()
    assert lane is not None
    run = connection.lanes.reserve(lane, Sink())
    connection.lanes.sending(run)
    connection.lanes.abandon(run, 0.0)
    return connection


def seated(placement: Placement) -> object:
    return placement.seat.group if placement.seat is not None else None


def test_a_turn_without_a_seat_dials() -> None:
    assert assign(STRANGER, [], FREE) == Placement(dials=True)


def test_a_connection_with_many_drains_takes_turns_only_while_no_other_is_ready() -> None:
    crowded, calm = draining(Connection()), Connection()
    assert seated(assign(STRANGER, [crowded, calm], FREE)) is calm.lanes
    alone = assign(STRANGER, [crowded], FREE)
    assert (seated(alone), alone.dials) == (crowded.lanes, True)
    dialling = assign(STRANGER, [crowded, Connection(is_ready=False)], FREE)
    assert (seated(dialling), dialling.dials) == (crowded.lanes, False)


def test_an_idle_connection_to_another_url_gives_way() -> None:
    busy, idle = draining(Connection()), Connection()
    assert assign(STRANGER, [], FULL, [busy, idle]) == Placement(dials=True, closes=idle)
    assert assign(STRANGER, [], FULL, [busy]) == Placement()


def test_a_connection_that_failed_the_turn_is_taken_only_where_none_can_be_dialled() -> None:
    failed = Connection()
    turn = Asking(None, ASKED, [], avoiding=[failed])
    assert assign(turn, [failed], FREE) == Placement(dials=True)
    assert seated(assign(turn, [failed], FULL)) is failed.lanes


def test_a_decision_changes_nothing() -> None:
    connection = Connection()
    for _ in range(3):
        assert assign(STRANGER, [connection], FREE).seat is not None
    assert (list(connection.lanes), connection.lanes.in_flight) == ([], 0)
