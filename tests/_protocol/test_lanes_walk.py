"""A random walk of lanes against a small model of the server."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline._protocol.events import ReceivedEvent
from trunkline._protocol.lane import Lane, Run

from .lane_events import (
    COMPLETED,
    FAILED,
    INCOMPLETE,
    Sink,
    answered,
    delta,
    error,
    in_progress,
    life,
    named,
    new_lane,
    steer,
)


class Answering:
    """Model of the server on one lane: it answers creates one after another."""

    def __init__(self) -> None:
        self.queue: list[Run] = []
        self.run: Run | None = None
        self.response_id: str | None = None
        self.over: list[str] = []
        self.awaiting: str | None = None
        self.steers = self.accepted = 0

    @property
    def is_free(self) -> bool:
        return self.response_id is None and self.run is None


class Walk:
    """Lanes, a model of the server on each, and the expected state of the lanes."""

    def __init__(self, names: int, data: st.DataObject) -> None:
        self.draw = data.draw
        self.lanes = named(max_in_flight=4)
        self.places = [new_lane(self.lanes) for _ in range(names)]
        self.server = {lane: Answering() for lane in self.places}
        self.reserved: dict[Lane, list[Run]] = {lane: [] for lane in self.places}
        self.forks: dict[Run, Lane] = {}
        self.latest: dict[Lane, str | None] = dict.fromkeys(self.places)
        self.responses = 0
        for lane in self.places:  # a server whose responses begin with an event says so
            self.latest[lane] = self.new_response()
            answered(self.lanes, lane, f"resp_{self.responses}")

    def step(self) -> None:
        lane = self.draw(st.sampled_from(self.places))
        server = self.server[lane]
        weights = {
            self.reserve: 2 * self.lanes.has_room * (len(self.reserved[lane]) < 2),
            self.send: 4 * any(not run.was_sent for run in self.reserved[lane]),
            self.leave: bool(self.reserved[lane]),
            self.begin: 3 * server.is_free,
            self.work: server.response_id is not None,
            self.finish: 2 * (server.response_id is not None),
            self.speak: 1,
            self.refuse: 1,
            self.repeat: bool(server.over) and server.response_id is None,
            self.lose_the_way: 1,
            self.steer: 4 * (server.run is not None and server.response_id is not None),
            self.accept: 4 * (server.response_id is not None and server.accepted < server.steers),
            self.hand_back: 3 * bool(server.steers),
            self.succeed: 6 * (server.awaiting is not None and bool(server.accepted)),
        }
        self.draw(st.sampled_from([action for action, weight in weights.items() for _ in range(weight)]))(
            lane
        )
        self.check()

    def emit(self, one: ReceivedEvent, expected: Run | None) -> None:
        strays = self.lanes.strays
        assert self.lanes.route(one) is expected
        assert self.lanes.strays == strays + (expected is None)

    def over(self, lane: Lane) -> None:
        server = self.server[lane]
        if server.run is not None:
            self.reserved[lane].remove(server.run)
            self.forks.pop(server.run, None)
            assert server.run.is_over
        server.run = server.response_id = server.awaiting = None
        server.steers = server.accepted = 0

    def new_response(self) -> str:
        self.responses += 1
        return f"resp_{self.responses}"

    def reserve(self, lane: Lane) -> None:
        fork_of = self.draw(st.none() | st.sampled_from(self.places))
        run = self.lanes.reserve(lane, Sink(), fork_of=fork_of)
        self.reserved[lane].append(run)
        if fork_of is not None:
            self.forks[run] = fork_of

    def send(self, lane: Lane) -> None:
        run = next(run for run in self.reserved[lane] if not run.was_sent)
        self.lanes.sending(run)
        self.server[lane].queue.append(run)
        self.latest[lane] = None

    def leave(self, lane: Lane) -> None:
        run = self.draw(st.sampled_from(self.reserved[lane]))
        self.lanes.abandon(run, 0.0)
        assert run.sink is None
        assert run.is_over is not run.was_sent
        if not run.was_sent:
            self.reserved[lane].remove(run)
            self.forks.pop(run, None)

    def begin(self, lane: Lane) -> None:
        """The next response begins: that of the oldest create, or one without a create."""
        server = self.server[lane]
        server.response_id = self.new_response()
        server.run = server.queue.pop(0) if server.queue else None
        self.latest[lane] = None
        kind = self.draw(st.sampled_from(["created", "queued"]))
        self.emit(life(f"response.{kind}", lane, server.response_id), server.run)

    def work(self, lane: Lane) -> None:
        server = self.server[lane]
        assert server.response_id is not None
        self.emit(in_progress(lane, server.response_id), server.run)
        if server.run is not None:
            self.forks.pop(server.run, None)

    def speak(self, lane: Lane) -> None:
        server = self.server[lane]
        self.emit(delta(lane), server.run if server.response_id is not None else None)

    def finish(self, lane: Lane) -> None:
        server, run = self.server[lane], self.server[lane].run
        assert server.response_id is not None
        kind = self.draw(st.sampled_from([COMPLETED, COMPLETED, FAILED, INCOMPLETE]))
        self.emit(life(kind, lane, server.response_id), run)
        server.over.append(server.response_id)
        if kind == COMPLETED and run is not None and run.sink is not None and not server.queue:
            self.latest[lane] = server.response_id
        if run is None or not server.steers:
            self.over(lane)
        else:
            server.awaiting, server.response_id = server.response_id, None
            self.forks.pop(run, None)

    def refuse(self, lane: Lane) -> None:
        """An error: of the running response, else of a waiting create, else of neither."""
        server = self.server[lane]
        if server.is_free and server.queue:
            server.run = server.queue.pop(0)
        elif server.response_id is not None:
            server.over.append(server.response_id)
        self.emit(error(lane), server.run)
        self.over(lane)

    def repeat(self, lane: Lane) -> None:
        kind = self.draw(st.sampled_from([COMPLETED, FAILED, "response.in_progress"]))
        self.emit(life(kind, lane, self.server[lane].over[-1]), None)

    def lose_the_way(self, _: Lane) -> None:
        self.emit(delta(Lane(self.lanes, "unknown")), None)
        self.emit(error(Lane(self.lanes, "unknown")), None)

    def steer(self, lane: Lane) -> None:
        server = self.server[lane]
        assert server.run is not None
        self.lanes.steering(server.run)
        server.steers += 1

    def accept(self, lane: Lane) -> None:
        server = self.server[lane]
        assert server.response_id is not None
        server.accepted += 1
        self.emit(steer("accepted", lane, server.response_id, f"s{server.accepted}"), server.run)

    def hand_back(self, lane: Lane) -> None:
        server = self.server[lane]
        target = server.response_id or server.awaiting
        assert target is not None
        # Of the steers that are not accepted, some have an id, and others have none.
        accepted, refused = [f"s{server.accepted}"], [None, "refused"]
        name = self.draw(
            st.sampled_from(
                (accepted if server.accepted else []) + (refused if server.steers > server.accepted else [])
            )
        )
        server.steers -= 1
        server.accepted -= name in accepted
        outcome = self.draw(st.sampled_from(["failed", "pending"]))
        self.emit(steer(outcome, lane, target, name), server.run)
        if server.awaiting is not None and not server.steers:
            self.over(lane)

    def succeed(self, lane: Lane) -> None:
        server = self.server[lane]
        server.response_id = self.new_response()
        one = life("response.created", lane, server.response_id, previous_response_id=server.awaiting)
        server.awaiting = None
        server.steers -= server.accepted
        server.accepted = 0
        self.latest[lane] = None
        self.emit(one, server.run)

    def close(self) -> None:
        runs = [run for reserved in self.reserved.values() for run in reserved]
        assert self.lanes.close() == runs
        assert all(run.is_over for run in runs)
        assert not self.lanes.has_room
        assert self.lanes.draining == self.lanes.in_flight == 0
        assert all(lane.is_idle and lane.latest is None for lane in self.lanes)

    def check(self) -> None:
        """Assert that the lanes equal the model."""
        assert self.lanes.in_flight == sum(map(len, self.reserved.values())) <= 4
        assert self.lanes.draining == sum(run.sink is None for run in self.lanes.runs)
        assert self.lanes.runs == [run for runs in self.reserved.values() for run in runs]
        for lane, server in self.server.items():
            assert list(lane.runs) == self.reserved[lane]
            assert lane.latest == self.latest[lane]
            assert lane.forks == list(self.forks.values()).count(lane)
            assert (lane.stray is not None) == (server.response_id is not None and server.run is None)
            started = [run for run in lane.runs if run.response_id is not None]
            assert started == ([server.run] if server.run is not None and server.response_id else [])
            assert lane.is_idle == (not lane.runs and lane.stray is None and lane not in self.forks.values())


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.integers(20, 60), st.data())
def test_whatever_happens_no_two_runs_overlap_and_every_event_reaches_its_own(
    names: int, steps: int, data: st.DataObject
) -> None:
    walk = Walk(names, data)
    for _ in range(steps):
        walk.step()
    walk.close()
