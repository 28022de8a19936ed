"""A short soak: turns of many callers on replicas that are killed, frozen and drained."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys

import pytest

from .balancers import BALANCERS
from .soak import FORBIDDEN

TURNS = int(os.environ.get("TRUNKLINE_FLEET_SOAK_TURNS", "400"))


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_no_turn_is_lost_doubled_or_mixed_by_kills(balancer: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    command = ("-m", "tests.fleet.soak", "--turns", str(TURNS), "--seed", str(seed), "--balancer", balancer)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=pipe, stderr=pipe)
    output, complaints = await process.communicate()
    assert output, complaints.decode()
    record = json.loads(output)
    assert {name: record[name] for name in FORBIDDEN} == dict.fromkeys(FORBIDDEN, 0), complaints.decode()
    assert record["turns"] >= TURNS
    assert record["killed"] + record["frozen"] + record["drained"] > 0
    assert record["answered"] + sum(record["errors"].values()) == record["turns"]
