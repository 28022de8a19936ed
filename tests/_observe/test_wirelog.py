from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

import trunkline
from trunkline._observe import wirelog
from trunkline._observe.wirelog import REDACTED, WireLog, content_of, named, shown, wire_log
from trunkline._protocol.decoding import decode
from trunkline.emulator import Emulator

from ..talk import ask, client_of, first_text, hold_after_first_word
from ..waiting import until

KEY = "sk-secret-key-0123456789"
SECRET = "the butler did it"
LOGGERS = ("trunkline", "trunkline.wire", "picows", "httpx2", "httpcore2", "asyncio")


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All logs of all libraries, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the wire's logger said."""
    return [record.getMessage() for record in caplog.records if record.name == "trunkline.wire"]


def whole(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that any logger said, with all that its records hold."""
    return "\n".join(f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records)


async def test_every_frame_has_a_line_with_place_type_and_size(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator(frames=1000) as emulator, client_of(emulator) as client:
        stream = await ask(client.conversation(model="echo"), SECRET)
        frames = emulator.frames
    logged = [
        re.fullmatch(r"connection 1 lane-0 ([<>]) (\S+)( resp_\S+)? (\d+) B", line)
        for line in lines(everything)
    ]
    found = [(match[1], match[2], int(match[4])) for match in logged if match]
    assert found == [
        ("<" if frame.sent else ">", json.loads(frame.data)["type"], len(frame.data)) for frame in frames
    ]
    assert any(f"response.created {stream.response.id} " in line for line in lines(everything))


async def test_dials_and_closes_have_lines(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator() as emulator:
        async with client_of(emulator) as client:
            await client.warm(model="echo")
        url = emulator.base_url.replace("http", "ws")
        assert lines(everything) == [
            f"connection 1 dials {url}/responses",
            "connection 1 is open",
            "connection 1 is closed: the client closed the connection",
        ]


async def test_a_dial_that_fails_says_why(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator() as emulator:
        emulator.faults.add("refuse_upgrade", status=503)
        async with client_of(emulator) as client:
            with pytest.raises(trunkline.UpgradeRefused):
                await client.warm(model="echo")
    assert (
        "connection 1 could not be made: the server refused the WebSocket upgrade with HTTP status 503"
        in lines(everything)
    )


async def test_a_rotation_names_both_connections(everything: pytest.LogCaptureFixture) -> None:
    limits = trunkline.PoolLimits(max_age_s=0.0, age_jitter_s=0.0, upkeep_s=0.02)
    async with Emulator() as emulator, client_of(emulator, limits=limits) as client:
        await client.warm(model="echo")
        await until(lambda: client.metrics.rotations > 0, "a connection is replaced")
    assert "connection 1 is replaced by connection 2: maximum age reached" in lines(everything)
    assert "connection 1 takes no new turns" in lines(everything)


async def test_a_connection_that_is_not_trusted_says_so(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.faults.add("corrupt", event=3)
        await ask(client.conversation(model="echo"), SECRET)
    assert any(line.startswith("connection 1 is not trusted any more: ") for line in lines(everything))


async def test_a_steer_is_a_frame_too(everything: pytest.LogCaptureFixture) -> None:
    async with (
        Emulator() as emulator,
        client_of(emulator) as client,
        client.conversation(model="words-50").send(SECRET) as stream,
    ):
        gate = hold_after_first_word(emulator)
        await first_text(stream)
        await stream.steer(SECRET)
        gate.open()
        await stream.finish()
    assert any(
        re.fullmatch(r"connection 1 lane-0 > response.steer \d+ B", line) for line in lines(everything)
    )
    assert SECRET not in whole(everything)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_neither_content_nor_key_is_in_any_record(
    everything: pytest.LogCaptureFixture, transport: str
) -> None:
    tool = {"type": "mcp", "server_label": "x", "server_url": "https://x.test", "authorization": KEY}
    async with Emulator(api_key=KEY) as emulator:
        emulator.faults.add("fail", event=4, status=503, message=SECRET)
        base_url = f"{emulator.base_url}?key={KEY}"
        options = {"transport": transport, "headers": {"X-Extra": KEY}, "replay_actions": True}
        async with client_of(emulator, base_url=base_url, **options) as client:
            chat = client.conversation(model="echo", instructions=SECRET, metadata={"note": SECRET})
            with pytest.raises(trunkline.ResponseRefused):
                await ask(chat, SECRET, model="refuse-400-invalid_prompt")
            async with chat.send(SECRET, tools=[tool]) as stream:
                await first_text(stream)
    assert lines(everything)
    assert SECRET not in whole(everything)
    assert KEY not in whole(everything)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_content_is_shown_to_those_who_ask_and_a_key_never(
    everything: pytest.LogCaptureFixture, transport: str
) -> None:
    tool = {"type": "mcp", "server_label": "x", "server_url": "https://x.test", "authorization": "sk-of-tool"}
    async with (
        Emulator(api_key=KEY) as emulator,
        client_of(emulator, transport=transport, log_content=True) as client,
    ):
        await ask(client.conversation(model="echo", tools=[tool]), SECRET)
    sent = next(line for line in lines(everything) if "> response.create" in line)
    assert SECRET in sent
    assert REDACTED in sent
    assert any("response.output_text.delta" in line and "butler" in line for line in lines(everything))
    assert KEY not in whole(everything)
    assert "sk-of-tool" not in whole(everything)


async def test_http_has_lines_for_request_events_and_end(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator() as emulator, client_of(emulator, transport="http") as client:
        stream = await ask(client.conversation(model="echo"), SECRET)
    logged = lines(everything)
    assert re.fullmatch(r"http turn 1\.1 > response.create \d+ B", logged[0])
    assert any(f"http turn 1.1 < response.created {stream.response.id} " in line for line in logged)
    assert logged[-1] == "http turn 1.1 closed"


async def test_an_answer_over_http_that_is_left_says_so(everything: pytest.LogCaptureFixture) -> None:
    async with (
        Emulator() as emulator,
        client_of(emulator, transport="http") as client,
    ):
        emulator.faults.add("stall", event=6)
        async with client.conversation(model="words-50").send(SECRET) as stream:
            await first_text(stream)
        await until(lambda: client.state().http == 0, "the exchange has ended")
    assert lines(everything)[-1] == "http turn 1.1 closed: the stream was closed"


async def test_an_error_over_http_has_its_status_and_code(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator() as emulator, client_of(emulator, transport="http") as client:
        with pytest.raises(trunkline.ResponseRefused):
            await ask(client.conversation(model="refuse-400-invalid_prompt"), SECRET)
    assert any("http turn 1.1 < error 400 invalid_prompt " in line for line in lines(everything))


async def test_an_http_exchange_that_breaks_off_says_why(everything: pytest.LogCaptureFixture) -> None:
    async with Emulator() as emulator:
        emulator.faults.add("drop", event=2, transport="http")
        async with client_of(emulator, transport="http") as client:
            await ask(client.conversation(model="echo"), SECRET)
    assert any(line.startswith("http turn 1.1 closed: the ") for line in lines(everything))


async def test_nothing_is_made_and_nothing_said_when_nobody_listens(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(wirelog, "WireLog", lambda place, **_: made.append(place))
    caplog.set_level(logging.INFO, logger="trunkline.wire")
    async with Emulator() as emulator:
        emulator.faults.add("drop", event_type="response.in_progress")
        for transport in ("websocket", "http"):
            async with client_of(emulator, transport=transport) as client:
                await ask(client.conversation(model="echo"), SECRET)
    assert made == []
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("levels", "is_made"),
    [
        ({"": logging.DEBUG}, False),
        ({"trunkline.wire": logging.INFO}, False),
        ({"trunkline": logging.DEBUG, "trunkline.wire": logging.INFO}, False),
        ({"trunkline": logging.DEBUG}, True),
        ({"trunkline.wire": logging.DEBUG}, True),
        ({"trunkline": logging.INFO, "trunkline.wire": 5}, True),
    ],
)
def test_the_level_of_the_root_logger_does_not_ask_for_the_log(
    caplog: pytest.LogCaptureFixture, levels: dict[str, int], is_made: bool
) -> None:
    for name, level in levels.items():
        caplog.set_level(level, logger=name or None)
    assert (wire_log("connection 1", shows_content=False) is not None) is is_made


def test_whether_anybody_listens_is_asked_when_a_connection_is_made(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trunkline.wire")
    assert wire_log("connection 1", shows_content=False) is None
    caplog.set_level(logging.DEBUG, logger="trunkline.wire")
    log = wire_log("connection 1", shows_content=True)
    assert isinstance(log, WireLog)
    assert repr(log) == "<WireLog of connection 1>"


@pytest.mark.parametrize(
    ("name", "line"),
    [("lane-1", "lane-1"), (None, ""), (7, ""), ("a\nb", r"'a\nb'"), ("x" * 500, "x" * 100)],
)
def test_a_name_of_the_servers_cannot_break_the_line(name: Any, line: str) -> None:
    assert named(name) == line


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("wss://host/v1/responses?model=x&key=sk-1", "wss://host/v1/responses"),
        ("wss://user:sk-1@host:8443/v1", "wss://host:8443/v1"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_key(url: str, line: str) -> None:
    assert shown(url) == line


def test_only_the_credentials_of_tools_are_taken_out_of_content() -> None:
    said = {
        "input": [{"role": "user", "content": "my headers", "headers": "kept"}],
        "tools": [
            {"type": "mcp", "authorization": "sk-1", "headers": {"X-Key": "sk-2"}, "server_label": "a"}
        ],
        "response": {"tools": [{"authorization": "sk-3"}], "tool_choice": "auto"},
    }
    text = content_of(json.dumps(said).encode())
    assert "sk-" not in text
    assert json.loads(text) == said | {
        "tools": [{"type": "mcp", "authorization": REDACTED, "headers": REDACTED, "server_label": "a"}],
        "response": {"tools": [{"authorization": REDACTED}], "tool_choice": "auto"},
    }


def test_content_is_bounded_and_need_not_be_json() -> None:
    assert len(content_of(json.dumps("x" * 1_000_000).encode())) < wirelog.MAX_CONTENT + 100
    assert content_of(b"\xff\n") == r"b'\xff\n'"


def test_an_error_event_shows_its_code_and_not_its_message(everything: pytest.LogCaptureFixture) -> None:
    frame = {"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded", "message": SECRET}}
    WireLog("connection 1", shows_content=False).received(decode(json.dumps(frame).encode()))
    (line,) = lines(everything)
    assert line.startswith("connection 1 < error 429 rate_limit_exceeded ")
    assert SECRET not in line
