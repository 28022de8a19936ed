from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from openai import APITimeoutError, BadRequestError, OpenAI

import trunkline.openai
from trunkline._face.outcome import Broken
from trunkline.emulator import Emulator, assert_context

from ..waiting import TIME_SCALE, wait_until
from .talk import BROKEN, JSON, sent_back, user


@pytest.fixture
def emulator() -> Iterator[Any]:
    with Emulator().run_in_thread() as running:
        yield running


def dropin(emulator: Any, **options: Any) -> OpenAI:
    http = trunkline.openai.http_client(lanes=True)
    given = {"base_url": emulator.base_url, "api_key": emulator.api_key, "max_retries": 0, **options}
    return OpenAI(http_client=http, **given)


@pytest.fixture
def client(emulator: Any) -> Iterator[OpenAI]:
    with dropin(emulator) as opened:
        yield opened


def transport_of(client: OpenAI) -> trunkline.openai.Transport:
    transport = client._client._transport
    assert isinstance(transport, trunkline.openai.Transport)
    return transport


def create(client: OpenAI, **body: Any) -> tuple[Any, str]:
    """A response, and how its request was sent."""
    raw = client.responses.with_raw_response.create(**{"model": "echo", **body})
    return raw.parse(), raw.headers.get("x-trunkline-mode", "http")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "trunkline openai"]


def test_a_history_is_sent_as_deltas(emulator: Any, client: OpenAI) -> None:
    items: list[JSON] = []
    modes = []
    for number in range(3):
        items.append(user(f"turn {number}"))
        response, mode = create(client, input=items, model="reason")
        modes.append(mode)
        assert_context(emulator.effective_context(response.id), items)
        items += sent_back(response.output)
    assert modes == ["full", "delta", "delta"]


def test_a_stream_is_that_of_http(emulator: Any, client: OpenAI) -> None:
    with client.responses.stream(model="words-200", input="hello") as stream:
        kinds = [event.type for event in stream]
        assert kinds[0] == "response.created"
        assert kinds.count("response.output_text.delta") == 200
        assert len(stream.get_final_response().output_text.split()) == 200


def test_many_threads_share_one_loop_and_one_socket(emulator: Any, client: OpenAI) -> None:
    barrier = threading.Barrier(12)

    def talk(number: int) -> str:
        barrier.wait()
        response, _ = create(client, input=f"thread {number}")
        text: str = response.output_text
        return text

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(talk, range(12))) == sorted(f"thread {number}" for number in range(12))
    assert threads() == ["trunkline openai"]
    assert len(emulator.connections) == 1


def test_the_thread_ends_with_the_last_client(emulator: Any) -> None:
    with dropin(emulator) as one:
        with dropin(emulator) as other:
            create(one, input="hello")
            create(other, input="hello")
        create(one, input="again")
        assert threads() == ["trunkline openai"]
    assert threads() == []
    assert not emulator.live_connections


def test_a_client_that_was_not_used_starts_no_thread(emulator: Any) -> None:
    with dropin(emulator) as client:
        assert client.models.list().data
    assert threads() == []


def test_it_works_inside_a_running_event_loop(emulator: Any, client: OpenAI) -> None:
    async def inside() -> str:
        text: str = create(client, input="hello")[0].output_text
        return text

    assert asyncio.run(inside()) == "hello"


def test_a_refusal_is_raised(client: OpenAI) -> None:
    with pytest.raises(BadRequestError):
        create(client, model="refuse-400-invalid_prompt", input="hello")


def test_a_lost_connection_is_raised(emulator: Any, client: OpenAI) -> None:
    emulator.faults.hold(event=7)
    stream = client.responses.create(model="words-10", input="hello", stream=True)
    assert next(stream).type == "response.created"
    emulator.drop_connections()
    with pytest.raises(BROKEN) as caught:
        list(stream)
    assert isinstance(caught.value.__cause__, httpx2.RemoteProtocolError | Broken)


def test_a_broken_connection_before_the_answer_is_raised(emulator: Any, client: OpenAI) -> None:
    emulator.faults.add("stall", event=5, times=None)
    limited = client.with_options(timeout=httpx2.Timeout(60.0 * TIME_SCALE, read=0.3 * TIME_SCALE))
    with pytest.raises(APITimeoutError):
        create(limited, input="hello")


def test_leaving_a_stream_is_barge_in(emulator: Any, client: OpenAI) -> None:
    gate = emulator.faults.hold(event=6)
    stream = client.responses.create(model="words-10", input="hello", stream=True)
    next(stream)
    stream.close()
    wait_until(lambda: transport_of(client).state().draining == 1, "the answer is left")
    assert create(client, input="next")[0].output_text == "next"
    gate.open()
    wait_until(lambda: transport_of(client).state().draining == 0, "the answer drains")


def test_a_stream_that_is_dropped_is_left(emulator: Any, client: OpenAI) -> None:
    emulator.faults.hold(event=6)
    stream = client.responses.create(model="words-10", input="hello", stream=True)
    next(stream)
    del stream
    gc.collect()
    wait_until(lambda: transport_of(client).state().draining == 1, "the answer is left")


def test_other_requests_go_over_http(emulator: Any, client: OpenAI) -> None:
    first, _ = create(client, input="hello")
    assert client.responses.retrieve(first.id).id == first.id
    client.responses.delete(first.id)
    items = [user("hello"), *sent_back(first.output), user("more")]
    assert create(client, input=items)[1] == "full"


def test_without_websocket_requests_go_over_http(emulator: Any, client: OpenAI) -> None:
    emulator.faults.add("refuse_upgrade", status=404, times=None)
    response, mode = create(client, input="hello")
    assert response.output_text == "hello"
    assert mode == "http"
    assert transport_of(client).metrics.fallbacks == 1


PROGRAM = """
import os, sys, warnings
warnings.simplefilter("error")
import trunkline.openai
from openai import OpenAI

client = OpenAI(http_client=trunkline.openai.http_client(lanes=True), max_retries=0)

def ask(words):
    return client.responses.create(model="echo", input=words).output_text

print(ask("before"))
stream = client.responses.create(model="words-10", input="x", stream=True)
next(stream)
sys.stdout.flush()
child = os.fork() if sys.argv[1] == "fork" else None
if child == 0:
    del stream
    print(ask("in the child"))
    client.close()
    sys.exit(0)  # with the exit hooks
if child is not None:
    assert os.waitpid(child, 0)[1] == 0
print(sum(1 for _ in stream))
print(ask("after"))
# It is not closed: the exit of the program does it.
"""


def run_program(emulator: Any, how: str) -> list[str]:
    environment = {
        **os.environ,
        "OPENAI_API_KEY": emulator.api_key,
        "OPENAI_BASE_URL": emulator.base_url,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_a_program_ends_without_closing_its_client(emulator: Any) -> None:
    assert run_program(emulator, "alone") == ["before", "17", "after"]


def test_a_forked_child_has_sockets_of_its_own(emulator: Any) -> None:
    assert run_program(emulator, "fork") == ["before", "in the child", "17", "after"]
    assert len(emulator.connections) >= 2
