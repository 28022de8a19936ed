"""The model of a fleet, and its constants: those of the shipped files, the library and the benchmark."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from collections import Counter
from itertools import pairwise
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trunkline
from trunkline._decisions.lineage import LineageLimits
from trunkline._protocol.lanes import MAX_IN_FLIGHT, MAX_NAMES
from trunkline.gateway.configuration import Bounds

from ..fleet.pods import MANIFESTS, manifest
from .test_contract import BENCH, ROOT

KEYS = [f"conversation {number}" for number in range(4000)]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fleet_model", BENCH / "fleet_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


model = loaded()


def names(count: int) -> list[str]:
    return [f"replica {number}" for number in range(count)]


@pytest.mark.parametrize("replicas", [2, 3, 10, 40])
def test_a_replica_that_leaves_moves_its_share_alone(replicas: int) -> None:
    before, after = names(replicas), names(replicas)[1:]
    moved = model.moved_share(before, after, KEYS)
    assert moved == pytest.approx(1 / replicas, rel=0.4)
    old, new = model.Ring(before), model.Ring(after)
    for key in KEYS:
        if old.replica_of(key) != before[0]:
            assert new.replica_of(key) == old.replica_of(key)


@pytest.mark.parametrize("replicas", [2, 3, 10, 40])
def test_a_replica_that_comes_takes_its_share_alone(replicas: int) -> None:
    before, after = names(replicas), names(replicas + 1)
    assert model.moved_share(before, after, KEYS) == pytest.approx(1 / (replicas + 1), rel=0.4)
    old, new = model.Ring(before), model.Ring(after)
    assert all(new.replica_of(key) in (old.replica_of(key), after[-1]) for key in KEYS)


@pytest.mark.parametrize("replicas", [2, 5, 12])
def test_a_rolling_update_moves_each_conversation_once_to_twice(replicas: int) -> None:
    assert 1 <= model.moves_of_a_rollout(replicas, KEYS) <= 2.1
    # All at once: each conversation moves once.
    assert model.moves_of_a_rollout(replicas, KEYS, surge=replicas) == pytest.approx(1, abs=0.25)


@given(st.integers(1, 10**7), st.floats(0.01, 1), st.booleans())
def test_a_plan_is_consistent(conversations: int, answering: float, is_stored: bool) -> None:
    load = model.Load(conversations, answering=answering, is_stored=is_stored)
    found = model.plan(load)
    assert found.replicas * found.answers >= load.answers
    assert found.answers <= model.ANSWERS.value
    assert found.sockets * model.IN_FLIGHT.value >= found.answers
    assert found.fleet_sockets <= load.answers / model.IN_FLIGHT.value + 2 * found.replicas
    assert 0 < found.delta_share <= 1


def test_unstored_turns_of_few_answering_conversations_lose_their_lanes() -> None:
    assert model.delta_share(64, 1, is_stored=False) == 0.5
    assert model.delta_share(64, 1, is_stored=True) == 1
    assert model.delta_share(2 * model.KEYS.value, 256, is_stored=True) == 0.5


async def test_the_client_sends_the_share_of_deltas_that_the_model_says(client: trunkline.Client) -> None:
    chance = random.Random(1)
    chats = [client.conversation(model="echo", store=False) for _ in range(48)]
    for chat in chats:
        await chat.run("first")
    modes = Counter[str]()
    for _ in range(400):
        async with chance.choice(chats).send("again") as stream:
            await stream.finish()
        modes[stream.metrics.mode] += 1
    assert client.state().sockets == 1  # one answer at a time
    expected = model.delta_share(len(chats), 1, is_stored=False)
    assert modes["delta"] / modes.total() == pytest.approx(expected, rel=0.15)


def test_the_limits_come_in_their_order() -> None:
    found = model.limits(model.Load(1))
    assert all(one.conversations <= other.conversations for one, other in pairwise(found))
    more = model.limits(model.Load(1, answering=1))
    assert more[0].conversations < found[0].conversations


def test_the_constants_are_those_of_the_library_and_of_the_shipped_files() -> None:
    assert model.IN_FLIGHT.value == MAX_IN_FLIGHT
    assert model.NAMES.value == MAX_NAMES
    assert model.SOCKETS.value == Bounds().upstream_sockets
    assert model.HISTORIES_MB.value == Bounds().histories_bytes / 2**20
    assert model.KEYS.value == LineageLimits().max_keys
    scaler = manifest("HorizontalPodAutoscaler")["spec"]
    assert model.REPLICAS.value == scaler["maxReplicas"]
    assert model.ANSWERS.value == int(scaler["metrics"][0]["pods"]["target"]["averageValue"])
    assert model.BALANCERS.value == manifest("Deployment", "trunkline-balancer")["spec"]["replicas"]
    text = (MANIFESTS / "haproxy.cfg").read_text()
    assert f"maxconn {model.CONNECTIONS.value:.0f}\n" in text
    assert f"accepted_payload_size {model.DNS_BYTES.value:.0f}\n" in text


def test_the_measured_constants_are_those_of_the_stored_benchmark() -> None:
    figures = (ROOT / "docs" / "benchmarks" / "results.md").read_text()
    (head, *_, row) = re.findall(r"^\| (?:client \| cpu_us_100|trunkline-gateway) .*$", figures, re.MULTILINE)
    stored = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    # Later runs differ a little; the model need not follow each.
    assert float(stored["cpu_us_400"]) == pytest.approx(model.DELTA_US.value, rel=0.5)
    assert float(stored["cpu_ms_turn_6"]) == pytest.approx(model.TURN_MS.value, rel=0.5)
    assert float(stored["idle_kb |"].rstrip(" |")) == pytest.approx(model.IDLE_KB.value, rel=0.5)


def test_the_page_has_the_tables() -> None:
    page = model.PAGE.read_text()
    assert f"{model.BEGIN}\n{model.tables()}\n{model.END}" in page
