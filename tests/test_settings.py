"""Every public setting has an effect: each field has a test that fails without it."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import pytest

import trunkline
from trunkline import Deadlines, Hooks, Policy, PoolLimits
from trunkline._decisions.recovery import Action, Facts, decide
from trunkline._protocol.failure import Failure
from trunkline.emulator import Emulator
from trunkline.errors import ResponseRefused

from .talk import ask, client_of, first_text, read, user
from .waiting import runs_briefly, soon, until

HERE = Path(__file__).parent
SETTINGS = (Deadlines, Policy, PoolLimits, Hooks)
ONCE = Policy(max_attempts=1)

_IDLE = "_network/test_connection.py::test_a_server_that_answers_no_ping_is_left"
_TCP = "_network/test_http_client.py::test_each_tcp_connection_finds_a_dead_peer"

ELSEWHERE = {
    **{f"PoolLimits.{name}_after_s": _IDLE for name in ("ping", "doubt", "dead")},
    **{f"PoolLimits.keepalive_{name}": _TCP for name in ("idle_s", "interval_s", "probes")},
    "PoolLimits.unsent_bytes": _TCP,
    "Hooks.client_made": "_observe/test_client_view.py::test_a_view_has_the_figures_of_its_client",
    "Hooks.turn_drained": (
        "test_drains.py::test_the_usage_of_an_abandoned_answer_is_reported_once_it_has_drained"
    ),
    "PoolLimits.max_key_bytes": "test_keyed.py::test_the_next_turn_of_a_forgotten_key_is_sent_in_full",
    "PoolLimits.key_idle_s": "test_keyed.py::test_the_next_turn_of_a_forgotten_key_is_sent_in_full",
    "PoolLimits.max_keys": "test_client.py::test_keys_are_bounded_and_the_least_recently_used_is_dropped",
}
SHOWN: set[str] = set()

Test = TypeVar("Test", bound=Callable[..., object])


def shows(*settings: str) -> Callable[[Test], Test]:
    """Declare the fields that a test covers."""
    SHOWN.update(settings)
    return lambda test: test


def test_every_setting_has_a_test_of_its_effect() -> None:
    public = {f"{kind.__name__}.{field.name}" for kind in SETTINGS for field in fields(kind)}
    assert public - SHOWN - ELSEWHERE.keys() == set(), "a setting without a test of its effect"
    assert (SHOWN | ELSEWHERE.keys()) - public == set(), "a test of a setting that does not exist"


@pytest.mark.parametrize(("setting", "test"), ELSEWHERE.items())
def test_the_tests_named_here_exist_and_set_the_field(setting: str, test: str) -> None:
    path, name = test.split("::")
    source = (HERE / path).read_text()
    (function,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    )
    assert setting.partition(".")[2] in (ast.get_source_segment(source, function) or "")


# Deadlines.


async def late(emulator: Emulator, event: int, deadlines: Deadlines) -> str:
    """The phase of the deadline that a turn exceeds if it stalls before this event."""
    emulator.faults.add("stall", event=event)
    async with client_of(emulator, policy=ONCE) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as exceeded:
            await soon(ask(client.conversation(model="echo"), "one two three", deadlines=deadlines))
    return exceeded.value.phase


@shows("Deadlines.first_event")
async def test_first_event(emulator: Emulator) -> None:
    assert await late(emulator, 1, Deadlines(first_event=runs_briefly(0.05))) == "first_event"


@shows("Deadlines.first_output")
async def test_first_output(emulator: Emulator) -> None:
    assert await late(emulator, 3, Deadlines(first_output=runs_briefly(0.05))) == "first_output"


@shows("Deadlines.between_events")
async def test_between_events(emulator: Emulator) -> None:
    assert await late(emulator, 7, Deadlines(between_events=runs_briefly(0.05))) == "between_events"


@shows("Deadlines.total")
async def test_total(emulator: Emulator) -> None:
    assert await late(emulator, 7, Deadlines(total=runs_briefly(0.1))) == "total"


@shows("Deadlines.connect")
@pytest.mark.parametrize("limits", [None, PoolLimits(max_connections=8)])
async def test_connect_bounds_each_dial_whatever_the_limits_are(
    emulator: Emulator, limits: PoolLimits | None
) -> None:
    emulator.faults.add("ignore_upgrade")
    deadlines = Deadlines(connect=runs_briefly(0.1))
    async with client_of(emulator, deadlines=deadlines, limits=limits) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(client.warm(model="echo"))
    assert (late.value.phase, late.value.waited_s) == ("connect", deadlines.connect)


# Policy.


async def attempts(emulator: Emulator, policy: Policy, retry_after: str | None = "0") -> int:
    """Number of requests of one turn to an overloaded service."""
    headers = {"retry-after": retry_after} if retry_after is not None else {}
    emulator.faults.add("reject", status=503, headers=headers, times=None)
    async with client_of(emulator, policy=policy) as client:
        with pytest.raises(ResponseRefused):
            await soon(ask(client.conversation(model="echo"), "hello"))
    return len(emulator.requests)


@shows("Policy.max_attempts")
@pytest.mark.parametrize("most", [1, 3])
async def test_max_attempts(emulator: Emulator, most: int) -> None:
    assert await attempts(emulator, Policy(max_attempts=most)) == most


@shows("Policy.waits")
async def test_waits(emulator: Emulator) -> None:
    assert await attempts(emulator, Policy(waits=False)) == 1


@shows("Policy.max_retry_after_s")
async def test_max_retry_after_s(emulator: Emulator) -> None:
    assert await attempts(emulator, Policy(max_retry_after_s=5), retry_after="6") == 1


async def test_by_default_a_long_retry_after_is_raised_at_once_and_named(emulator: Emulator) -> None:
    emulator.faults.add("reject", status=429, headers={"retry-after": "15"}, times=None)
    async with client_of(emulator) as client:
        with pytest.raises(ResponseRefused, match="retry after 15 s") as refused:
            await soon(ask(client.conversation(model="echo"), "hello"))
    assert refused.value.retry_after_s == 15.0
    assert len(emulator.requests) == 1


def delay_s(policy: Policy, attempt: int) -> float:
    facts = Facts(
        failure=Failure.connect("no route"),
        output_seen=False,
        attempt=attempt,
        remaining_s=None,
        may_replay=True,
        names_parent=False,
        jitter=1.0,
    )
    decision = decide(facts, policy)
    assert decision.action is Action.ELSEWHERE
    return decision.delay_s


@shows("Policy.backoff_s", "Policy.max_backoff_s")
def test_backoff_s_is_doubled_up_to_max_backoff_s() -> None:
    assert [delay_s(Policy(backoff_s=0.5), attempt) for attempt in (1, 2, 3)] == [0.5, 1, 2]
    assert delay_s(Policy(backoff_s=0.5, max_backoff_s=0.75), 3) == 0.75


# PoolLimits.


async def sockets(emulator: Emulator, turns: int, limits: PoolLimits) -> int:
    """Number of connections that are dialled for this many concurrent turns."""
    emulator.faults.add("stall", event=7, times=None, seconds=runs_briefly(0.2))
    async with client_of(emulator, limits=limits) as client:
        asked = [ask(client.conversation(model="echo"), "one two three") for _ in range(turns)]
        await soon(asyncio.gather(*asked))
        return client.metrics.dials


@shows("PoolLimits.max_in_flight", "PoolLimits.max_connections")
async def test_max_in_flight_and_max_connections(emulator: Emulator) -> None:
    assert await sockets(emulator, 4, PoolLimits(max_in_flight=2)) == 2
    assert await sockets(emulator, 4, PoolLimits(max_in_flight=2, max_connections=1)) == 1


@shows("PoolLimits.max_lanes")
async def test_max_lanes(emulator: Emulator) -> None:
    assert await sockets(emulator, 4, PoolLimits(max_lanes=2)) == 2


async def leave(client: trunkline.Client) -> trunkline.ResponseStream:
    async with client.conversation(model="echo").send("one two three") as stream:
        await first_text(stream)
    return stream


@shows("PoolLimits.max_draining")
@pytest.mark.parametrize(("most", "second"), [(1, 2), (2, 1)])
async def test_max_draining(emulator: Emulator, most: int, second: int) -> None:
    emulator.faults.add("stall", event=7, request=1)
    async with client_of(emulator, limits=PoolLimits(max_draining=most)) as client:
        await client.warm(model="echo", connections=most % 2 + 1)
        first = await leave(client)
        assert first.metrics.connection == 1
        stream = await ask(client.conversation(model="echo"), "hello")
        assert stream.metrics.connection == second


@shows("PoolLimits.drain_s", "PoolLimits.upkeep_s")
async def test_drain_s_is_checked_every_upkeep_s(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=7, times=None)
    async with client_of(emulator, limits=PoolLimits(drain_s=0, upkeep_s=0.01)) as client:
        await leave(client)
        await until(lambda: client.connections == 0, "the connection is closed")
    for limits in (PoolLimits(drain_s=0, upkeep_s=3600), PoolLimits(drain_s=3600, upkeep_s=0.01)):
        async with client_of(emulator, limits=limits) as client:
            await leave(client)
            await asyncio.sleep(0.05)  # not a wait for something: nothing may happen
            assert client.connections == 1


@shows("PoolLimits.close_abandoned")
@pytest.mark.parametrize("closes", [True, False])
async def test_close_abandoned(emulator: Emulator, closes: bool) -> None:
    emulator.faults.add("stall", event=7)
    async with client_of(emulator, limits=PoolLimits(close_abandoned=closes)) as client:
        await leave(client)
        if closes:
            await until(lambda: not emulator.live_connections, "the socket is closed")
        assert client.state().draining == (0 if closes else 1)


@shows("PoolLimits.max_age_s", "PoolLimits.age_jitter_s")
@pytest.mark.parametrize(("age_s", "jitter_s", "rotates"), [(0, 0, True), (3600, 0, False), (1, 1e9, True)])
async def test_max_age_s_and_age_jitter_s(
    emulator: Emulator, age_s: float, jitter_s: float, rotates: bool
) -> None:
    limits = PoolLimits(max_age_s=age_s, age_jitter_s=jitter_s, upkeep_s=0.01)
    async with client_of(emulator, limits=limits) as client:
        await client.warm(model="echo")
        if rotates:
            await until(lambda: client.metrics.rotations > 0, "the connection is replaced")
        else:
            await asyncio.sleep(0.05)  # not a wait for something: nothing may happen
            assert client.metrics.rotations == 0


# Hooks.


@shows("Hooks.turn_started", "Hooks.turn_finished")
async def test_hooks(emulator: Emulator) -> None:
    seen: list[tuple[str, str | None]] = []
    hooks = Hooks(
        turn_started=lambda metrics: seen.append(("started", metrics.outcome)),
        turn_finished=lambda metrics: seen.append(("finished", metrics.outcome)),
    )
    async with client_of(emulator, hooks=hooks) as client:
        await read(client.stream(model="echo", input=[user("hello")]))
    assert seen == [("started", None), ("finished", "answered")]
