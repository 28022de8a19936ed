from __future__ import annotations

import gc

import trunkline
from trunkline import ClientView, Hooks
from trunkline.emulator import Emulator

from ..talk import ask, client_of
from ..waiting import until


async def test_a_view_has_the_figures_of_its_client(emulator: Emulator) -> None:
    made: list[ClientView] = []
    async with client_of(emulator, hooks=Hooks(client_made=made.append)) as client:
        (view,) = made
        assert f"{view.server_address}:{view.server_port}" in emulator.base_url
        assert view.state() == client.state()
        await ask(client.conversation(model="echo"), "hello")
        assert view.state() == client.state()
        state = view.state()
        assert state is not None
        assert state.sockets == 1
        assert view.metrics == client.metrics
        assert view.metrics.turns == 1
    assert repr(view) == "<ClientView of 127.0.0.1>"


async def test_a_view_keeps_the_counters_and_not_the_client(emulator: Emulator) -> None:
    made: list[ClientView] = []
    client = client_of(emulator, hooks=Hooks(client_made=made.append))
    await ask(client.conversation(model="echo"), "hello")
    await client.close()
    del client
    gc.collect()
    await until(lambda: made[0].state() is None, "the client is gone")
    assert made[0].metrics.turns == 1


def test_each_client_is_told_of_and_hooks_that_raise_harm_none() -> None:
    made: list[ClientView] = []

    def broken(view: ClientView) -> None:
        raise LookupError

    hooks = Hooks(client_made=broken).and_also(Hooks(client_made=made.append))
    for port in (8001, 8002):
        trunkline.Client(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", hooks=hooks)
    assert [view.server_port for view in made] == [8001, 8002]
