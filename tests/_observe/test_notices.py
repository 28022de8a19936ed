from __future__ import annotations

import logging
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, Policy
from trunkline._decisions.recovery import Action, Cause, Decision
from trunkline._observe.notices import DEAD_INTERVAL_S, Notices, log_retry
from trunkline._protocol.failure import Failure, FailureKind
from trunkline.emulator import Emulator, FakeClock

from ..talk import Timing, ask, client_of, first_text
from ..waiting import runs_briefly, soon, until

SECRET = "the butler did it"
QUICK = Policy(backoff_s=0.001)


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """What the library told at this level."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.partition(".")[0] == "trunkline" and record.levelno == level
    ]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def notices(clock: FakeClock) -> Notices:
    return Notices("service.test:8443", clock)


# The notices themselves.


def test_falling_back_and_recovering_are_one_warning_each(
    notices: Notices, caplog: pytest.LogCaptureFixture
) -> None:
    notices.recovered()
    for reason in ("refused with 503", "refused with 502"):
        notices.fell_back(reason)
    for _ in range(2):
        notices.recovered()
    notices.fell_back("refused with 501")
    assert lines(caplog) == [
        "turns to service.test:8443 go over HTTP until a WebSocket works again: refused with 503",
        "turns to service.test:8443 go over WebSocket again",
        "turns to service.test:8443 go over HTTP until a WebSocket works again: refused with 501",
    ]
    assert repr(notices) == "<Notices of service.test:8443>"


def test_connections_that_die_together_are_one_warning(
    notices: Notices, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        notices.dead(number, "silent")
    clock.now += DEAD_INTERVAL_S
    notices.dead(4, "silent")
    clock.now += DEAD_INTERVAL_S
    notices.dead(5, "silent")
    assert lines(caplog) == [
        "connection 1 to service.test:8443 is given up: silent",
        "connection 4 to service.test:8443 is given up: silent; so were 2 others before",
        "connection 5 to service.test:8443 is given up: silent",
    ]


def test_a_retry_shows_the_codes_and_not_the_messages(caplog: pytest.LogCaptureFixture) -> None:
    refused = Failure(kind=FailureKind.REFUSED, message=SECRET, code="rate_limit_exceeded")
    log_retry(2, 1, None, refused, Decision(Action.AGAIN, Cause.TRANSIENT))
    caplog.set_level(logging.INFO, "trunkline")
    log_retry(3, 2, None, refused, Decision(Action.AGAIN, Cause.TRANSIENT, 0.25))
    log_retry(4, 1, 7, Failure.lost(SECRET), Decision(Action.RAISE))
    log_retry(5, 1, 7, Failure.lost(SECRET), Decision(Action.ELSEWHERE, Cause.CONNECTION))
    assert lines(caplog, logging.INFO) == [
        "turn 3 attempt 2 on http failed: ResponseRefused rate_limit_exceeded;"
        " recovers from transient, again in 0.250 s",
        "turn 5 attempt 1 on connection 7 failed: ConnectionLost; recovers from connection, elsewhere"
        " in 0.000 s",
    ]


# A client.


async def test_a_refused_upgrade_is_one_warning_and_so_is_its_end(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    timing = Timing()
    emulator.faults.add("refuse_upgrade", status=503, times=2)
    async with client_of(emulator, world=timing.world) as client:
        for _ in range(3):
            await ask(client.conversation(model="echo"), SECRET)
        (fell,) = lines(caplog)
        place = emulator.base_url.split("/")[2]
        assert fell == (
            f"turns to {place} go over HTTP until a WebSocket works again: "
            "the server refused the WebSocket upgrade with HTTP status 503"
        )
        for _ in range(3):  # the first probe is refused too
            timing.now += 100
            await ask(client.conversation(model="echo"), SECRET)
            await until(lambda: not client.state().probing, "the probe has ended")
        for _ in range(2):
            stream = await ask(client.conversation(model="echo"), SECRET)
            assert stream.metrics.transport == "websocket"
    assert lines(caplog)[1:] == [f"turns to {place} go over WebSocket again"]


async def test_sockets_that_bring_nothing_are_one_warning(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.add("reset", event=1, transport="websocket", times=None)
    async with client_of(emulator, policy=QUICK) as client:
        for _ in range(2):
            await ask(client.conversation(model="echo"), SECRET)
    (fell,) = lines(caplog)
    assert fell.endswith("the connection ended without a close frame")


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_fixed_transport_never_changes(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    emulator.faults.add("refuse_upgrade", status=503, times=1)
    emulator.faults.add("drop", event=1, times=1)
    async with client_of(emulator, transport=transport, policy=QUICK) as client:
        await ask(client.conversation(model="echo"), SECRET)
    assert lines(caplog) == []


async def test_a_silent_socket_is_one_warning_and_the_retries_are_informations(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    emulator.faults.add("stall", event=1, times=2)
    deadlines = Deadlines(first_event=runs_briefly(0.2))
    async with client_of(emulator, deadlines=deadlines) as client:
        chats = [client.conversation(model="echo") for _ in range(2)]
        async with chats[0].send(SECRET) as first, chats[1].send(SECRET) as second:
            await soon(first.finish())
            await soon(second.finish())
    (dead,) = lines(caplog)
    assert dead.startswith("connection 1 to 127.0.0.1:")
    assert dead.endswith(" is given up: the server was silent until a deadline")
    retries = lines(caplog, logging.INFO)
    assert len(retries) == 2
    assert all("on connection 1 failed: DeadlineExceeded; recovers from" in line for line in retries)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("transport", ["websocket", "http", "auto"])
async def test_nothing_is_told_of_turns_that_go_well_where_the_root_logger_is_at_debug(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, transport: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    limits = trunkline.PoolLimits(max_age_s=0.0, age_jitter_s=0.0, upkeep_s=0.02)
    async with client_of(emulator, transport=transport, limits=limits) as client:
        await client.warm(model="echo")
        for _ in range(2):
            await ask(client.conversation(model="echo"), SECRET)
        async with client.conversation(model="words-50").send(SECRET) as stream:
            await first_text(stream)
        if transport != "http":
            await until(lambda: client.metrics.rotations > 0, "a connection is replaced")
    told = [record for record in caplog.records if record.name.partition(".")[0] in ("trunkline", "picows")]
    assert told == []


def test_a_server_without_parents_is_reported(notices: Notices, caplog: pytest.LogCaptureFixture) -> None:
    notices.unchained("it ignores previous_response_id")
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "turns to service.test:8443 carry the whole context: the server keeps no parents, "
        "it ignores previous_response_id"
    )
