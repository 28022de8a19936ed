from __future__ import annotations

import asyncio

import pytest

import trunkline
from trunkline import Deadlines, Policy, PoolLimits
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from ..peer import Server
from ..talk import ask, assert_kept, client_of, first_text, record_of
from ..waiting import runs_briefly, soon, until


async def ask_all(client: trunkline.Client, count: int, model: str = "echo") -> list[trunkline.TurnMetrics]:
    """So many conversations at once."""
    chats = [client.conversation(model=model) for _ in range(count)]
    return [stream.metrics for stream in await asyncio.gather(*(ask(chat, "hello") for chat in chats))]


async def ask_together(
    emulator: Emulator, client: trunkline.Client, count: int
) -> list[trunkline.TurnMetrics]:
    """So many conversations at once; none is answered before all have been asked."""
    gate = emulator.faults.hold(event=1, times=count)
    asking = asyncio.create_task(ask_all(client, count))
    await until(lambda: gate.held == count, "all are asked", describe=lambda: gate)
    gate.open()
    return await asking


# Dials.


async def test_one_dial_serves_all_that_have_room_on_it(emulator: Emulator, client: trunkline.Client) -> None:
    await ask_together(emulator, client, 16)
    assert (emulator.handshakes, emulator.connections[0].peak_in_flight) == (1, 16)


async def test_the_seventeenth_needs_another(emulator: Emulator, client: trunkline.Client) -> None:
    await ask_together(emulator, client, 17)
    assert sorted(connection.peak_in_flight for connection in emulator.connections) == [1, 16]


async def test_a_dial_that_hangs_holds_up_nobody_else(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", connection=1)
    async with client_of(emulator, lanes=False, deadlines=Deadlines(connect=60)) as client:
        hanging = asyncio.create_task(ask(client.conversation(model="echo"), "one"))
        await until(lambda: emulator.handshakes == 1, "the first is dialling")
        metrics = (await soon(ask(client.conversation(model="echo"), "two"))).metrics
        assert metrics.connection == 2
        hanging.cancel()
        await asyncio.wait([hanging])


async def test_a_dial_that_fails_is_heard_of_by_all_that_waited_for_it(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=403, times=None)
    async with client_of(emulator, transport="websocket") as client:
        chats = [client.conversation(model="echo") for _ in range(3)]
        errors = await asyncio.gather(*(ask(chat, "hello") for chat in chats), return_exceptions=True)
        assert [type(error) for error in errors] == [trunkline.UpgradeRefused] * 3
        assert len({id(error) for error in errors}) == 3
        assert (client.connections, client.metrics.failed_dials) == (0, client.metrics.dials)


async def test_a_dial_that_failed_is_tried_again(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503, headers={"retry-after": "0"})
    async with client_of(emulator, transport="websocket") as client:
        stream = await ask(client.conversation(model="echo"), "hello")
    assert (stream.metrics.attempts, stream.metrics.connection) == (2, 2)


async def test_all_that_waited_for_a_dial_can_be_cancelled(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade")
    async with client_of(emulator) as client:
        tasks = [asyncio.create_task(ask(client.conversation(model="echo"), "hello")) for _ in range(5)]
        await until(lambda: emulator.handshakes == 1, "it is dialling")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert client.connections == 1  # the dial goes on; it belongs to nobody
    assert client.connections == 0


# Keeping them.


async def test_connections_are_used_again(emulator: Emulator, client: trunkline.Client) -> None:
    for _ in range(5):
        await ask_all(client, 20)
    assert emulator.handshakes == 2


async def test_one_connection_holds_more_conversations_than_it_has_lanes(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chats = [client.conversation(model="echo", store=False) for _ in range(40)]
    for words in ("one", "two"):
        for chat in chats:
            stream = await ask(chat, words)
            assert_kept(emulator, chat, stream.response)
    assert emulator.handshakes == 1
    assert len(emulator.connections[0].lane_names) == 32


async def test_limits_of_lanes_and_of_turns_in_flight_are_kept(emulator: Emulator) -> None:
    async with client_of(emulator, limits=PoolLimits(max_in_flight=3, max_lanes=5)) as client:
        for _ in range(3):
            await ask_together(emulator, client, 9)
    assert emulator.handshakes == 3
    for connection in emulator.connections:
        assert connection.peak_in_flight <= 3
        assert len(connection.lane_names) <= 5


async def test_a_conversation_stays_where_it_is_warm(emulator: Emulator, client: trunkline.Client) -> None:
    await client.warm(model="echo", connections=3)
    chats = [client.conversation(model="echo", store=False) for _ in range(6)]
    homes = [(m.connection, m.lane) for m in [(await ask(chat, "one")).metrics for chat in chats]]
    for _ in range(3):
        streams = await asyncio.gather(*(ask(chat, "on") for chat in reversed(chats)))
        assert [(s.metrics.connection, s.metrics.lane) for s in reversed(streams)] == homes
        assert {s.metrics.mode for s in streams} == {"delta"}


# Without lanes.


async def test_without_lanes_each_turn_has_a_socket_to_itself(emulator: Emulator) -> None:
    async with client_of(emulator, lanes=False) as client:
        for _ in range(3):
            metrics = await ask_together(emulator, client, 5)
            assert sorted(one.connection or 0 for one in metrics) == [1, 2, 3, 4, 5]
            assert {one.lane for one in metrics} == {None}
    assert [connection.peak_in_flight for connection in emulator.connections] == [1] * 5


async def test_without_lanes_a_conversation_goes_on_where_it_was(emulator: Emulator) -> None:
    async with client_of(emulator, lanes=False) as client:
        chats = [client.conversation(model="echo", store=False) for _ in range(3)]
        await asyncio.gather(*(ask(chat, "one") for chat in chats))
        for chat in reversed(chats):
            stream = await ask(chat, "two")
            assert stream.metrics.mode == "delta"
            assert_kept(emulator, chat, stream.response)
    assert emulator.handshakes == 3


async def test_without_lanes_an_interrupted_answer_does_not_hold_up_the_next_turn(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=7, request=1)
    async with client_of(emulator, lanes=False) as client:
        chat = client.conversation(model="echo")
        async with chat.send("one two three") as stream:
            await first_text(stream)
        following = await soon(ask(chat, "next"))
        assert (stream.metrics.connection, following.metrics.connection) == (1, 2)


# Room.


async def test_turns_wait_for_room_in_the_order_in_which_they_came(emulator: Emulator) -> None:
    emulator.pace = Pace(0.01, None)
    limits = PoolLimits(max_connections=1)
    async with client_of(emulator, lanes=False, limits=limits) as client:
        chats = [client.conversation(model="echo") for _ in range(6)]
        tasks = []
        for number, chat in enumerate(chats):
            tasks.append(asyncio.create_task(ask(chat, f"number {number}")))
            await asyncio.sleep(0)
        await soon(asyncio.gather(*tasks))
    asked = [record.input[0]["content"] for record in emulator.responses.values()]
    assert asked == [f"number {number}" for number in range(6)]
    assert emulator.handshakes == 1


async def test_a_turn_that_stops_waiting_takes_no_place_from_the_next(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=7, request=1)
    limits = PoolLimits(max_connections=1)
    async with client_of(emulator, lanes=False, limits=limits) as client:
        first, second, third = (
            asyncio.create_task(ask(client.conversation(model="echo"), "one two three")) for _ in range(3)
        )
        await until(lambda: len(emulator.faults.fired) == 1, "the first one stalls")
        second.cancel()
        gate.open()
        await soon(asyncio.gather(first, third))
    assert second.cancelled()
    assert len(emulator.responses) == 2


async def test_connections_are_bounded_over_all_models(emulator: Emulator) -> None:
    deadlines = Deadlines(connect=runs_briefly(0.5))
    limits = PoolLimits(max_connections=2)
    once = Policy(max_attempts=1)
    async with client_of(emulator, limits=limits, deadlines=deadlines, policy=once) as client:
        await client.warm(model="echo", connections=5)
        assert client.connections == 2
        await client.warm(model="reason", connections=1)
        assert client.connections == 2


# Their end.


async def test_closing_does_not_wait_for_a_dial(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade")
    client = client_of(emulator)
    waiting = asyncio.create_task(ask(client.conversation(model="echo"), "hello"))
    await until(lambda: emulator.handshakes == 1, "it is dialling")
    await soon(client.close(within_s=60))
    with pytest.raises(trunkline.ClientClosed):
        await waiting


@pytest.mark.usefixtures("no_proxy")
async def test_closing_is_bounded_where_the_server_does_not_answer(server: Server) -> None:
    base_url = f"http://127.0.0.1:{server.port}/v1"
    client = trunkline.Client(base_url=base_url, api_key="sk-x", lanes=True)
    warming = asyncio.create_task(client.warm(model="m"))
    peer = await soon(server.next_peer())
    peer.accept()
    await soon(warming)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await client.close(within_s=runs_briefly(0.1))
    assert loop.time() - begun < runs_briefly(1.5)  # less than a CLOSE may take
    await soon(peer.ended())


@pytest.mark.usefixtures("no_proxy")
async def test_a_socket_that_closes_slowly_is_not_waited_for_by_a_turn(server: Server) -> None:
    """An abandoned connection that never answers its CLOSE: the next turn has one of its own."""
    base_url = f"http://127.0.0.1:{server.port}/v1"
    limits = PoolLimits(max_connections=1)
    async with trunkline.Client(base_url=base_url, api_key="sk-x", lanes=True, limits=limits) as client:
        warming = asyncio.create_task(client.warm(model="m"))
        peer = await soon(server.next_peer())
        peer.accept()
        await soon(warming)
        limit = b'{"type":"error","error":{"code":"websocket_connection_limit_reached","message":"x"}}'
        peer.write(bytes([0x81, len(limit)]) + limit)
        assert (await soon(peer.read()))[0] == 8
        warming = asyncio.create_task(client.warm(model="m"))
        other = await soon(server.next_peer(), within_s=1.5)  # less than a CLOSE may take
        other.accept()
        await soon(warming)
        assert client.connections == 1
        other.writer.transport.abort()
        peer.writer.transport.abort()


async def test_old_connections_are_replaced_and_no_turn_is_lost(emulator: Emulator) -> None:
    limits = PoolLimits(max_age_s=0.05, age_jitter_s=0, upkeep_s=0.01)
    async with client_of(emulator, limits=limits) as client:
        chat = client.conversation(model="echo", store=False)
        for _ in range(200):
            stream = await ask(chat, "on")
            assert stream.metrics.attempts == 1
            assert_kept(emulator, chat, stream.response)
            if client.metrics.rotations >= 3:
                break
            await asyncio.sleep(0.002)  # not a wait for something: time has to pass
        assert client.metrics.rotations >= 3
        await until(lambda: len(emulator.live_connections) <= 2, "the old ones are closed")


async def test_an_answer_in_the_middle_outlives_the_rotation_of_its_connection(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=8)
    limits = PoolLimits(max_age_s=0.05, age_jitter_s=0, upkeep_s=0.01)
    async with client_of(emulator, limits=limits) as client:
        async with client.conversation(model="words-40").send("go") as stream:
            await first_text(stream)
            await until(lambda: client.metrics.rotations >= 1, "the connection is replaced")
            gate.open()
            await stream.finish()
        assert (stream.metrics.attempts, len(stream.received_text.split())) == (1, 40)
        assert record_of(emulator, stream).connection_id == emulator.connections[0].id


async def test_an_idle_connection_of_another_model_gives_way_where_no_more_may_be_made(
    emulator: Emulator,
) -> None:
    async with client_of(emulator, limits=PoolLimits(max_connections=1)) as client:
        for model in ("echo", "reason", "echo"):
            assert (await ask(client.conversation(model=model), "hello")).response.output_text == "hello"
            assert client.connections == 1
    assert emulator.handshakes == 3
