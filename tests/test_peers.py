"""Defects of other clients, one test each. The numbers are those of docs/peers.md."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest

import trunkline
from trunkline import Cause, Deadlines, Policy, PoolLimits
from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ReceivedEvent
from trunkline._protocol.identity import identity
from trunkline._protocol.json import JSON
from trunkline.emulator import Emulator, FakeSocket, Gate, assert_context
from trunkline.emulator.pace import Pace
from trunkline.events import OutputTextDelta, UnknownEvent

from .peer import PING, PONG, TEXT, Peer, Server, frame
from .scripted import answer, talking
from .talk import (
    DELTA,
    Timing,
    ask,
    assert_kept,
    assistant,
    client_of,
    first_text,
    hold_after_first_word,
    read,
    record_of,
    texts,
    types_of,
    user,
)
from .waiting import runs_briefly, soon, until

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "peers.md"


def scripted_by(server: Server) -> trunkline.Client:
    """A client of a server that the test scripts."""
    return trunkline.Client(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="sk-x", lanes=True)


async def accepted(server: Server) -> Peer:
    peer = await soon(server.next_peer())
    peer.accept()
    return peer


def tell(peer: Peer, *events: dict[str, Any]) -> None:
    peer.write(*(frame(TEXT, json.dumps({"stream_id": "lane-0", **event}).encode()) for event in events))


@pytest.fixture
def chat(client: trunkline.Client) -> trunkline.Conversation:
    return client.conversation(model="echo", store=False)


async def test_peer_01_a_failed_response_is_not_the_parent_of_the_next_turn(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo")
    first = await ask(chat, "one")
    emulator.expect("two").fails("invalid_prompt")
    with pytest.raises(trunkline.ResponseFailed):
        await ask(chat, "two")
    third = await ask(chat, "three")
    assert record_of(emulator, third).previous_response_id == first.response.id
    assert_kept(emulator, chat, third.response)


@pytest.mark.parametrize("keyed", [False, True])
async def test_peer_02_the_answer_is_not_sent_again(
    emulator: Emulator, client: trunkline.Client, chat: trunkline.Conversation, keyed: bool
) -> None:
    history: list[Any] = []
    for words in ("one", "two", "three"):
        history.append(user(words))
        stream = await read(
            client.stream(model="echo", input=history, key="k", store=False) if keyed else chat.send(words)
        )
        assert_context(record_of(emulator, stream).effective_context, history)
        history += stream.response.output
    assert [len((request.body or {})["input"]) for request in emulator.requests] == [1, 1, 1]


async def test_peer_03_after_an_interruption_the_model_sees_what_was_heard_and_no_more(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.pace = Pace(0, 500)
    chat = client.conversation(model="words-12")
    await ask(chat, "one")
    async with chat.send("two") as stream:
        await first_text(stream)
        await first_text(stream)
    stream.heard("the")
    left = list(emulator.responses.values())[-1]
    await until(lambda: left.status == "completed", "the server has finished the answer")
    after = await ask(chat, "three")
    assert_context(
        record_of(emulator, after).effective_context,
        [*chat.items[:2], user("two"), assistant("the"), user("three")],
    )


async def test_peer_04_an_edit_in_place_of_an_old_message_is_noticed(
    emulator: Emulator, client: trunkline.Client
) -> None:
    history: list[Any] = [user("one")]
    for edit in (None, "edited", "edited again"):
        if edit:
            history[0]["content"] = edit
        stream = await read(client.stream(model="echo", input=history, key="k"))
        assert_context(record_of(emulator, stream).effective_context, history)
        history += [*stream.response.output, user("on")]


async def test_peer_05_a_parent_that_is_not_found_costs_one_resend_and_is_never_named_again(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    first = await ask(chat, "one")
    emulator.forget()
    assert (await ask(chat, "two")).metrics.recoveries == [Cause.PARENT_LOST]
    assert (await ask(chat, "three")).metrics.recoveries == []
    named = [(request.body or {}).get("previous_response_id") for request in emulator.requests]
    assert named.count(first.response.id) == 1


async def test_peer_06_a_close_in_mid_answer_repeats_no_text(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    emulator.faults.add("close", event=9, close_code=1011)
    spoken: list[str] = []
    async with client_of(emulator) as client:
        stream = client.conversation(model="words-20").send("go")
        with pytest.raises(trunkline.ConnectionLost) as lost:
            await _speak(stream, spoken, gate)
        assert lost.value.output_seen
    assert "".join(spoken) == stream.received_text == "the quick brown fox"
    assert len(emulator.responses) == 1


async def _speak(stream: trunkline.ResponseStream, spoken: list[str], gate: Gate) -> None:
    async with stream:
        async for piece in stream.text():
            spoken.append(piece)
            gate.open()


async def test_peer_07_an_error_of_the_api_does_not_cost_a_healthy_socket(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    for number in range(5):
        for request in (3 * number + 2, 3 * number + 3):  # the second is sent in full
            emulator.faults.add("reject", request=request, status=400, code="invalid_prompt")
    for words in ("one", "two", "three", "four", "five"):
        await ask(chat, words)
        with pytest.raises(trunkline.ResponseRefused):
            await ask(chat, "refused")
    assert emulator.handshakes == 1


async def test_peer_08_an_incomplete_response_ends_the_stream(client: trunkline.Client) -> None:
    async with client.conversation(model="words-20").send("go", max_output_tokens=3) as stream:
        types = await soon(types_of(stream))
    assert (types[-1], stream.response.status) == ("response.incomplete", "incomplete")


@pytest.mark.usefixtures("no_proxy")
async def test_peer_09_a_strange_final_event_does_not_fail_a_turn_whose_text_was_delivered(
    server: Server,
) -> None:
    async with scripted_by(server) as client:
        reading = asyncio.create_task(ask(client.conversation(model="m"), "hello"))
        peer = await accepted(server)
        await soon(peer.read())
        item = {"type": "hologram", "rays": [1, 2]}
        response = {
            "id": "resp_1",
            "status": ["odd"],
            "usage": "plenty",
            "tools": 7,
            "temperature": "hot",
            "output": [item],
            "error": [],
        }
        tell(
            peer,
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": DELTA, "delta": "hi"},
            {"type": "response.completed", "response": response},
        )
        stream = await soon(reading)
        assert stream.received_text == "hi"
        assert stream.response.output[0] == item
        assert [each["type"] for each in stream.response.output] == ["hologram", "message"]
        assert stream.response.output_text == "hi"
        assert stream.metrics.usage is None
        peer.writer.transport.abort()


@pytest.mark.parametrize("event", [1, 3, 7])
async def test_peer_10_silence_is_noticed(emulator: Emulator, event: int) -> None:
    emulator.faults.add("stall", event=event)
    brief = runs_briefly(0.5)
    deadlines = Deadlines(first_event=brief, first_output=brief, between_events=brief)
    async with client_of(emulator, deadlines=deadlines) as client:
        stream = client.conversation(model="words-9").send("go")
        if event < 7:
            assert (await soon(read(stream))).metrics.recoveries == [Cause.STALLED]
        else:
            with pytest.raises(trunkline.DeadlineExceeded):
                await soon(read(stream))


async def test_peer_11_an_idle_socket_that_ends_is_noticed_at_once(
    emulator: Emulator, client: trunkline.Client, chat: trunkline.Conversation
) -> None:
    await client.warm(model="echo", connections=3)
    await emulator.drop_connections()
    await until(lambda: client.connections == 0, "the pool has dropped them")
    assert (await ask(chat, "hello")).metrics.attempts == 1


@pytest.mark.usefixtures("no_proxy")
async def test_peer_12_a_turn_does_not_wait_for_the_dial_of_another(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", connection=1)
    async with client_of(emulator, lanes=False, deadlines=Deadlines(connect=60)) as client:
        hanging = asyncio.create_task(ask(client.conversation(model="echo"), "one"))
        await until(lambda: emulator.handshakes == 1, "the first turn is dialling")
        await soon(ask(client.conversation(model="echo"), "two"))
        hanging.cancel()
        await asyncio.wait([hanging])


class Unanswered(FakeSocket):
    """A socket whose server does not answer the close."""

    def close(self, code: int = 1000) -> None:
        self.is_open = False


def _complete(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of an empty response."""
    kinds = ("created", "completed")
    lane = {"stream_id": request["stream_id"]}
    return [{"type": f"response.{kind}", "response": {"id": "resp_1"}, **lane} for kind in kinds]


async def test_peer_12_a_turn_does_not_wait_for_the_close_of_another_connection() -> None:
    sockets: list[Unanswered] = []

    async def dial(url: str, *, headers: Any, receiver: Any, **settings: Any) -> Unanswered:
        sockets.append(Unanswered(url, headers, receiver, _complete))
        return sockets[-1]

    limits, world = PoolLimits(max_connections=1), trunkline.World(dial=dial)
    async with trunkline.Client(
        api_key="k", base_url="http://fake/v1", lanes=True, limits=limits, world=world
    ) as client:
        await ask(client.conversation(model="one"), "hello")
        await soon(ask(client.conversation(model="two"), "hello"))
        assert [socket.is_open for socket in sockets] == [False, True]
        for socket in sockets:
            socket.lose()


async def test_peer_13_connections_are_replaced_before_their_hour_is_over_and_no_turn_is_lost() -> None:
    limits = PoolLimits(max_age_s=0.1, age_jitter_s=0.02, upkeep_s=0.01)
    async with Emulator(tokens_per_second=200) as emulator, client_of(emulator, limits=limits) as client:
        chat = client.conversation(model="words-20", store=False)
        turns = 0
        while turns < 4 or client.metrics.rotations < 2:
            turns += 1
            stream = await soon(ask(chat, "go"))
            assert (stream.metrics.attempts, len(stream.received_text.split())) == (1, 20)
            assert_kept(emulator, chat, stream.response)
        await until(lambda: len(emulator.live_connections) <= 2, "the old ones are closed")


async def test_peer_14_turns_at_the_same_time_keep_a_chain_each(
    emulator: Emulator, client: trunkline.Client
) -> None:
    histories = [[user(f"branch {number}")] for number in range(4)]
    for _ in range(3):
        streams = await asyncio.gather(
            *(read(client.stream(model="echo", input=h, key="one key", store=False)) for h in histories)
        )
        for history, stream in zip(histories, streams, strict=True):
            assert_context(record_of(emulator, stream).effective_context, history)
            history += [*stream.response.output, user("on")]
    assert {stream.metrics.mode for stream in streams} == {"delta"}


async def test_peer_15_turns_are_chained_also_where_nothing_is_stored(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    modes = [(await ask(chat, words)).metrics.mode for words in ("one", "two", "three")]
    assert modes == ["full", "delta", "delta"]
    assert not any(record.store for record in emulator.responses.values())


async def test_peer_16_the_turn_after_an_interruption_does_not_wait_and_gets_its_own_answer(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.faults.add("stall", event=8, request=1)
    chat = client.conversation(model="echo")
    async with chat.send("one two three four five") as stream:
        await first_text(stream)
    following = await soon(ask(chat, "six"))
    assert following.received_text == "six"
    assert following.metrics.connection == stream.metrics.connection
    assert following.metrics.lane != stream.metrics.lane


async def test_peer_17_one_client_runs_many_turns_concurrently(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = emulator.faults.hold(event=1, times=12)
    streams = [client.stream(model="echo", input=f"question {number}") for number in range(12)]
    reading = [asyncio.create_task(read(stream)) for stream in streams]
    await until(lambda: gate.held == 12, "all requests have arrived")
    gate.open()
    answered = await asyncio.gather(*reading)
    assert [stream.received_text for stream in answered] == [f"question {number}" for number in range(12)]
    assert emulator.connections[0].peak_in_flight == 12


async def test_peer_18_a_token_that_changes_costs_no_new_connection(emulator: Emulator) -> None:
    tokens: list[str] = []

    async def key() -> str:
        tokens.append(f"token-{len(tokens)}")
        return tokens[-1]

    emulator.api_key = None
    async with client_of(emulator, api_key=key) as client:
        chat = client.conversation(model="echo")
        for number in range(5):
            await ask(chat, "hello", extra_headers=None, metadata={"turn": str(number)})
    assert (emulator.handshakes, tokens) == (1, ["token-0"])


async def test_peer_19_a_reader_that_is_too_slow_loses_its_own_stream_alone(emulator: Emulator) -> None:
    emulator.expect("many").says("word " * 300)
    async with client_of(emulator, max_buffered_events=150) as client:
        slow = client.conversation(model="words-100").send("many")
        async with slow:
            neighbour = await ask(client.conversation(model="words-100"), "go")
            done = emulator.responses.values
            await until(lambda: all(one.status == "completed" for one in done()), "both have been sent")
            with pytest.raises(trunkline.SlowConsumer):
                await slow.finish()
        assert len(neighbour.received_text.split()) == 100
        assert (neighbour.metrics.connection, client.connections, emulator.handshakes) == (1, 1, 1)


async def test_peer_20_unknown_events_stay_unknown_and_flat_errors_keep_their_code(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.faults.add("unknown_event", event=5)
    emulator.faults.add("flat_error", times=None)
    async with client.conversation(model="echo").send("hello") as stream:
        events = [event async for event in stream]
    (unheard_of,) = [event for event in events if "unheard" in event.wire_type]
    assert isinstance(unheard_of, UnknownEvent)
    assert unheard_of.wire_type == unheard_of.json()["type"] == "response.emulator.unheard_of"
    async with client_of(emulator, policy=Policy(max_attempts=1)) as once:
        with pytest.raises(trunkline.ResponseRefused) as refused:
            await ask(once.conversation(model="refuse-429-rate_limit_exceeded"), "hello")
    assert refused.value.code == "rate_limit_exceeded"


async def test_peer_21_a_delta_is_decoded_once_and_costs_the_same_in_a_long_conversation(
    client: trunkline.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 0

    def counted(payload: bytes) -> ReceivedEvent:
        nonlocal decoded
        decoded += 1
        return decode(payload)

    monkeypatch.setattr("trunkline._network.connection.decode", counted)
    chat = client.conversation(model="words-50", items=[user(f"message {n}") for n in range(2000)])
    async with chat.send("go") as stream:
        events = [event async for event in stream]
    assert decoded == len(events)
    assert sum(isinstance(event, OutputTextDelta) for event in events) == 50


async def test_peer_22_no_reader_waits_for_ever_when_the_socket_ends(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=7, times=None)
    async with client_of(emulator) as client:
        streams = [client.conversation(model="words-9").send("go") for _ in range(5)]
        readers = [asyncio.create_task(read(stream)) for stream in streams]
        await until(lambda: len(emulator.faults.fired) == 5, "all of them stall")
        await until(lambda: all(stream.received_text == "the quick" for stream in streams), "all have text")
        await emulator.drop_connections()
        ends = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert [type(end) for end in ends] == [trunkline.ConnectionLost] * 5


async def test_peer_23_a_call_that_was_cut_off_is_not_executed(
    emulator: Emulator, client: trunkline.Client
) -> None:
    called = []

    def get_weather(city: str = "nowhere") -> str:
        """The weather in a city."""
        called.append(city)
        return "rain"

    emulator.expect("weather").calls("get_weather", city="Llanfairpwllgwyngyllgogerychwyrndrobwll")
    chat = client.conversation(model="echo", tools=[get_weather])
    response = await chat.run("weather?", max_output_tokens=1)
    assert (response.status, called) == ("incomplete", [])
    assert texts(chat.items) == ["user: weather?"]
    assert_kept(emulator, chat, (await ask(chat, "on")).response)


async def test_peer_24_after_one_refused_upgrade_websocket_is_tried_again(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503)
    timing = Timing()
    async with client_of(emulator, world=timing.world) as client:
        chat = client.conversation(model="echo")
        over = [(await ask(chat, words)).metrics.transport for words in ("one", "two")]
        timing.now += 60
        over.append((await ask(chat, "three")).metrics.transport)
        await until(
            lambda: bool(emulator.live_connections) and client.connections == 1,
            "WebSocket is available again",
        )
        await until(lambda: not client.state().probing, "the probe has ended")
        last = await ask(chat, "four")
        assert [*over, last.metrics.transport] == ["http", "http", "http", "websocket"]
        assert_kept(emulator, chat, last.response)


@pytest.mark.parametrize("size_bytes", [1_200_000, 5_000_000])
async def test_peer_25_large_frames_pass_both_ways(size_bytes: int) -> None:
    async with Emulator(context_window=10**7) as emulator, client_of(emulator) as client:
        emulator.faults.add("oversize", event_type=DELTA, size_bytes=size_bytes)
        chat = client.conversation(model="words-3")
        stream = await soon(ask(chat, "x" * size_bytes), within_s=30)
        assert stream.received_text == "the quick brown"
        assert (stream.metrics.attempts, emulator.handshakes) == (1, 1)
        assert stream.metrics.bytes_sent > size_bytes
        assert stream.metrics.bytes_received > size_bytes


@pytest.mark.parametrize("keyed", [False, True])
async def test_peer_26_an_item_is_encoded_once_in_its_life(
    emulator: Emulator, client: trunkline.Client, monkeypatch: pytest.MonkeyPatch, keyed: bool
) -> None:
    encoded = 0

    def counted(kind: str, item: JSON) -> bytes:
        nonlocal encoded
        encoded += 1
        return identity(kind, item)

    monkeypatch.setattr("trunkline._protocol.items.identity", counted)
    history: list[Any] = [user(f"message {number}") for number in range(500)]
    chat = client.conversation(model="echo", items=history)
    for turn in range(4):
        history.append(user(f"turn {turn}"))
        stream = await read(
            client.stream(model="echo", input=history, key="k") if keyed else chat.send(f"turn {turn}")
        )
        history += stream.response.output
        if turn == 0:
            gc.collect()
            encoded = 0
    # Three more turns, with one input and one output item each. In a keyed history, the caller's copy of the
    # output is encoded as well.
    assert encoded <= 3 * (3 if keyed else 2)


@pytest.mark.usefixtures("no_proxy")
async def test_peer_27_pings_are_answered_while_no_turn_runs(server: Server) -> None:
    async with scripted_by(server) as client:
        warming = asyncio.create_task(client.warm(model="m"))
        peer = await accepted(server)
        await soon(warming)
        for payload in (b"", b"are you there"):
            peer.write(frame(PING, payload))
            assert await soon(peer.read()) == (PONG, payload)
        peer.writer.transport.abort()


async def test_peer_28_a_conversation_outlives_its_process_with_its_chain(emulator: Emulator) -> None:
    async with client_of(emulator) as first:
        chat = first.conversation(model="echo")
        await ask(chat, "one")
        saved = json.dumps(chat.save())
    async with client_of(emulator) as second:
        chat = second.conversation(saved=json.loads(saved))
        stream = await ask(chat, "two")
    assert stream.metrics.mode == "delta"
    assert_kept(emulator, chat, stream.response)


async def test_peer_29_a_cache_key_given_once_goes_with_every_turn(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", prompt_cache_key="caller 7")
    for words in ("one", "two", "three"):
        await ask(chat, words)
    assert [(request.body or {})["prompt_cache_key"] for request in emulator.requests] == ["caller 7"] * 3


async def test_peer_30_reads_and_writes_of_the_cache_are_in_the_metrics(client: trunkline.Client) -> None:
    usage = (await ask(client.conversation(model="echo"), "one")).metrics.usage
    assert usage is not None
    assert set(usage["input_tokens_details"]) == {"cached_tokens", "cache_write_tokens"}
    assert usage["input_tokens_details"]["cache_write_tokens"] > 0


async def test_peer_31_settings_change_within_the_context_and_the_chain_goes_on(
    emulator: Emulator, client: trunkline.Client
) -> None:
    update = {"type": "configuration_update", "reasoning": {"effort": "high"}}
    chat = client.conversation(model="gpt-6.2-astra")
    await ask(chat, "one")
    for words in ([update, user("two")], [user("three")]):
        stream = await ask(chat, words)
        assert stream.metrics.mode == "delta"
        assert_kept(emulator, chat, stream.response)


@pytest.mark.parametrize(("quirk", "size_bytes"), [("proxy", 10), ("proxy-limit", 2_000_000)])
async def test_peer_32_a_proxy_that_closes_sockets_costs_no_turn(quirk: str, size_bytes: int) -> None:
    async with (
        Emulator(quirks=[quirk], context_window=10**7) as emulator,
        client_of(emulator, lanes=False) as client,
    ):
        chat = client.conversation(model="words-3")
        stream = await ask(chat, "x" * size_bytes)
        assert (stream.metrics.transport, stream.received_text) == ("http", "the quick brown")
        assert_kept(emulator, chat, stream.response)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_peer_33_the_reason_why_the_cache_was_not_used_can_be_read(transport: str) -> None:
    diagnostics = {"cache_miss_reason": "tools_changed"}
    options: Any = {"comparison_response_id": "resp_0"}
    told = answer("Hello", prompt_cache_diagnostics=diagnostics)
    async with talking(transport, told) as (client, server):
        chat = client.conversation(model="m", prompt_cache_options=options)
        async with chat.send("hi") as stream:
            *_, final = [event async for event in stream]
        assert final.json()["response"]["prompt_cache_diagnostics"] == diagnostics
        assert server.bodies[0]["prompt_cache_options"] == options


def test_every_row_has_its_tests() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}
    tested = {int(name.split("_")[2]) for name in globals() if name.startswith("test_peer_")}
    assert listed == tested == set(range(1, len(tested) + 1))


def test_tests_that_the_page_names_exist() -> None:
    named = re.findall(r"`([\w/.-]+\.py)::(\w+)`", PAGE.read_text())
    assert named
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
