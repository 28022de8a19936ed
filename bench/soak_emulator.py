"""Soak test of the emulator: random clients, valid and invalid, against one emulator.

    python bench/soak_emulator.py [--seconds 600] [--clients 8] [--seed 0]

It fails if the emulator logs an exception, does not serve a valid client, or leaks memory or tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import time
import tracemalloc
from typing import Any

import aiohttp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trunkline.emulator import Emulator, Fault, Faults

MODELS = (
    "echo",
    "tools",
    "words-20",
    "words-300",
    "reason",
    "mixed",
    "messages-3",
    "fail-server_error",
    "fail-after-3-server_error",
    "refuse-429-rate_limit_exceeded",
    "gpt-6-astra",
    "gpt-5",
)
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
lanes = st.none() | st.sampled_from("abcdefgh") | st.text(max_size=4)
items = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["message", "function_call", "function_call_output", "reasoning", "item_reference", "x"]
            ),
            "role": st.sampled_from(["user", "assistant", "system", "robot"]),
            "content": st.text(max_size=30) | anything,
            "call_id": st.sampled_from(["call_1", "call_2"]),
            "name": st.just("get_weather"),
            "arguments": st.just("{}"),
            "output": st.text(max_size=10),
            "id": st.text(max_size=8),
        },
    ),
    max_size=4,
)
creates = st.fixed_dictionaries(
    {"type": st.just("response.create"), "model": st.sampled_from(MODELS)},
    optional={
        "input": st.text(max_size=40) | items | st.just("weather in Oslo and Rome"),
        "stream_id": lanes,
        "store": st.booleans() | anything,
        "generate": st.booleans(),
        "tools": st.just([TOOL]) | anything,
        "tool_choice": st.sampled_from(["auto", "none", "required", None, 7]),
        "previous_response_id": st.just("LATEST") | st.just("resp_unknown") | anything,
        "max_output_tokens": st.integers(-1, 30),
        "truncation": st.sampled_from(["auto", "disabled", None]),
        "metadata": st.dictionaries(st.text(max_size=5), st.text(max_size=5) | anything, max_size=3),
        "context_management": st.just([{"type": "compaction", "compact_threshold": 50}]),
        "nonsense": anything,
    },
)
steers = st.fixed_dictionaries(
    {"type": st.just("response.steer")},
    optional={
        "previous_response_id": st.just("LATEST") | anything,
        "input": st.text(max_size=20) | items | anything,
        "stream_id": lanes,
    },
)
frames = st.one_of(
    creates, creates, creates, steers, st.dictionaries(st.text(max_size=8), anything), anything
)
raw = st.binary(max_size=60) | st.text(max_size=60)


class Errors(logging.Handler):
    """Keeps log records of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def examples(strategy: st.SearchStrategy[Any], count: int, seed: int) -> list[Any]:
    """Example values of a hypothesis strategy."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=seed == 0,
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


async def misbehave(
    emulator: Emulator, session: aiohttp.ClientSession, dice: random.Random, pool: list[Any]
) -> None:
    """One connection: random frames, random reads, and a random kind of end."""
    try:
        async with session.ws_connect(f"{emulator.base_url}/responses", max_msg_size=0) as socket:
            latest = "resp_unknown"
            for _ in range(dice.randrange(1, 40)):
                frame = dice.choice(pool)
                if isinstance(frame, bytes):
                    await socket.send_bytes(frame)
                elif isinstance(frame, str):
                    await socket.send_str(frame.encode("utf-8", "replace").decode())
                else:
                    await socket.send_str(json.dumps(frame).replace("LATEST", latest))
                for _ in range(dice.randrange(0, 30)):
                    try:
                        message = await asyncio.wait_for(socket.receive(), 0.005)
                    except TimeoutError:
                        break
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        return
                    if '"response.created"' in message.data[:40]:
                        latest = json.loads(message.data)["response"]["id"]
            if dice.random() < 0.3 and socket._response.connection is not None:
                transport = socket._response.connection.transport
                if transport is not None:
                    transport.abort()
    except (aiohttp.ClientError, ConnectionError):
        pass


async def post(
    emulator: Emulator, session: aiohttp.ClientSession, dice: random.Random, pool: list[Any]
) -> None:
    """One request over HTTP."""
    frame = dice.choice(pool)
    body = (
        {name: value for name, value in frame.items() if name != "type"} if isinstance(frame, dict) else frame
    )
    body = body if not isinstance(body, dict) else body | {"stream": dice.random() < 0.5}
    data = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "replace")
    try:
        async with session.post(f"{emulator.base_url}/responses", data=data) as answer:
            await answer.read()
            assert answer.status < 500 or answer.status == 503, await answer.text()
    except (aiohttp.ClientError, ConnectionError):
        pass


async def behave(emulator: Emulator, session: aiohttp.ClientSession) -> None:
    """A conversation that must succeed, independent of the other clients."""
    async with session.ws_connect(f"{emulator.base_url}/responses") as socket:
        for turn in range(3):
            body = {
                "type": "response.create",
                "model": "echo-good",
                "input": f"hello {turn}",
                "stream_id": "good",
            }
            await socket.send_json(body)
            while (event := json.loads((await asyncio.wait_for(socket.receive(), 30)).data))["type"] != (
                "response.completed"
            ):
                assert event["type"] != "error", event
            assert event["response"]["output"][0]["content"][0]["text"] == f"hello {turn}"


async def soak(seconds: float, clients: int, seed: int) -> dict[str, Any]:
    """Run the clients and return the figures."""
    dice = random.Random(seed)
    # Faults can affect every client but the valid ones.
    faults = Faults(
        [
            Fault(action, model=model, probability=0.01, times=None, seconds=0.01, size_bytes=100_000)
            for action in (
                "drop",
                "reset",
                "close",
                "stall",
                "delay",
                "truncate",
                "duplicate",
                "reorder",
                "fail",
            )
            for model in ("words-20", "mixed")
        ],
        seed=seed,
    )
    pool = examples(frames, 1500, seed) + examples(raw, 100, seed)
    counts = {"connections": 0, "posts": 0, "conversations": 0}
    marks: list[tuple[float, int]] = []
    async with Emulator(history=2000, faults=faults) as emulator:
        emulator.service.store._limit = 500
        headers = {"Authorization": f"Bearer {emulator.api_key}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(60)) as session:
            end = time.monotonic() + seconds
            tracemalloc.start()
            while time.monotonic() < end:
                async with asyncio.TaskGroup() as group:
                    for _ in range(clients):
                        group.create_task(misbehave(emulator, session, dice, pool))
                        group.create_task(post(emulator, session, dice, pool))
                    group.create_task(behave(emulator, session))
                counts["connections"] += clients
                counts["posts"] += clients
                counts["conversations"] += 1
                if counts["conversations"] % 20 == 0:
                    gc.collect()
                    marks.append((time.monotonic() - end + seconds, tracemalloc.get_traced_memory()[0]))
            async with asyncio.timeout(10):
                while emulator.live_connections:
                    await asyncio.sleep(0.01)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    return counts | {
        "requests_kept": len(emulator.requests),
        "faults_fired": len(emulator.faults.fired),
        "tasks_left": len(left),
        "memory_marks_mb": [round(size / 1e6, 1) for _, size in marks[:: max(len(marks) // 12, 1)]],
    }


def main() -> None:
    """Run the soak test, print the figures, and exit with the failures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SOAK_SEED", "0")))
    options = parser.parse_args()
    errors = Errors()
    logging.getLogger().addHandler(errors)
    figures = asyncio.run(soak(options.seconds, options.clients, options.seed))
    print(json.dumps(figures, indent=2))
    assert not errors.found, "\n".join(errors.found[:5])
    assert figures["tasks_left"] == 0, figures["tasks_left"]
    marks = figures["memory_marks_mb"]
    # The emulator's records are bounded: once they are full, memory must not grow.
    if len(marks) >= 8:
        middle, last = max(marks[len(marks) // 2 - 1 : len(marks) // 2 + 1]), marks[-1]
        assert last < middle * 1.2 + 2, f"memory grows: {marks}"


if __name__ == "__main__":
    main()
