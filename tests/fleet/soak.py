"""Turns of many callers on three replicas that are killed, frozen and drained at random.

    python -m tests.fleet.soak --turns 100000 --seed 1 [--balancer haproxy]

Replicas of ``trunkline serve`` are behind a balancer with the shipped configuration; the service is a process
of its own. Conversations of each kind of caller, with and without keys, stored and not, take their turns. The
service tells of each response which conversation its context, its parent and its reasoning belong to, and the
soak compares that with the history that the caller holds. One line of JSON is the record of the run:

``lost``            turns that neither ended in a response nor in a typed error
``heard_twice``     turns whose caller heard more than its one answer
``acted_twice``     requests with a hosted tool that may act, and that ran again
``wrong_context``   responses whose context, parent or reasoning was not that of their conversation
``billed_twice``    further responses to one turn; counted, not forbidden

The exit code is 0 if the first four are zero.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import openai
from openai import AsyncOpenAI

import trunkline
from trunkline.openai import async_http_client

from ..talk import output_for, user
from .balancers import BALANCERS, Balancer
from .callers import ACTING, FUNCTIONS, JSON, Asked, Caller, Chat, Heard, Keyed, Sdk, held_after
from .processes import Fleet, Process, fleet
from .upstream import Seen, fingerprint

KEY: Final = "sk-emulator"
REPLICAS: Final = 3
REPORTED: Final = 5000
"""Turns after which their number is printed."""
FORBIDDEN: Final = ("lost", "heard_twice", "acted_twice", "wrong_context")
TYPED: Final = (trunkline.TurnError, openai.OpenAIError, httpx2.TransportError)
"""The errors of a failed turn. The SDK passes those of its HTTP client on amid a stream."""
OPENING: Final = "Hello, can you help me?"
"""The first words of conversations that begin alike."""
WORDS: Final = ("ships", "of", "the", "fleet", "that", "went", "north", "in", "spring", "with", "some", "tea")
_HANGS_S: Final = 120.0
_DEADLINES: Final = trunkline.Deadlines(
    connect=10, first_event=20, first_output=20, between_events=20, total=60
)


@dataclass(frozen=True)
class Clients:
    """The clients that all conversations share."""

    lanes: Sequence[trunkline.Client]
    sdks: Sequence[AsyncOpenAI]
    dropins: Sequence[AsyncOpenAI]


@asynccontextmanager
async def clients(base_url: str) -> AsyncIterator[Clients]:
    """Clients of each kind that know the base URL of the fleet alone."""
    async with AsyncExitStack() as stack:

        async def client(**options: Any) -> trunkline.Client:
            made = trunkline.Client(base_url=base_url, api_key=KEY, deadlines=_DEADLINES, **options)
            return await stack.enter_async_context(made)

        async def sdk(http_client: httpx2.AsyncClient) -> AsyncOpenAI:
            made = AsyncOpenAI(
                base_url=base_url, api_key=KEY, max_retries=3, timeout=30, http_client=http_client
            )
            return await stack.enter_async_context(made)

        # Balancers hash WebSockets by the header of the upgrade, and requests without a key by their address.
        addresses = [f"127.0.0.{number}" for number in (1, 2, 3, 4)]
        transports = [httpx2.AsyncHTTPTransport(local_address=each) for each in addresses]
        yield Clients(
            lanes=[
                await client(),
                await client(headers={"x-trunkline-key": "a"}),
                await client(headers={"x-trunkline-key": "b"}),
                await client(lanes=False, headers={"x-trunkline-key": "c"}),
                await client(transport="http"),
            ],
            sdks=[await sdk(httpx2.AsyncClient(transport=each)) for each in transports],
            dropins=[await sdk(async_http_client()), await sdk(async_http_client(lanes=False))],
        )


class Service:
    """The process of the service, and what it tells of each response."""

    def __init__(self, process: asyncio.subprocess.Process, base_url: str) -> None:
        self.base_url = base_url
        self.on_seen: list[Any] = []
        self._process = process
        self._seen: dict[str, asyncio.Future[Seen]] = {}

    async def read(self) -> None:
        """Take its lines until it ends."""
        assert self._process.stdout is not None
        decode = msgspec.json.Decoder(Seen).decode
        async for line in self._process.stdout:
            seen = decode(line)
            self._future(seen.id).set_result(seen)
            for callback in self.on_seen:
                callback(seen)

    async def seen(self, response_id: str) -> Seen:
        """What it saw of a response."""
        async with asyncio.timeout(_HANGS_S):
            return await self._future(response_id)

    def _future(self, response_id: str) -> asyncio.Future[Seen]:
        found = self._seen.get(response_id)
        if found is None:
            found = self._seen[response_id] = asyncio.get_running_loop().create_future()
        return found


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """The emulator in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fleet.upstream", "--first-token-s", "0.01", "--tokens-per-second", "300"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        found = Service(process, (await process.stdout.readline()).decode().strip())
        reading = asyncio.create_task(found.read())
        yield found
        reading.cancel()
    finally:
        process.kill()
        await process.wait()


class Soak:
    """One run.

    Args:
        behind: the fleet.
        upstream: its service.
        callers: the clients.
        seed: of all choices.
        turns: the number of turns.
    """

    def __init__(self, behind: Fleet, upstream: Service, callers: Clients, *, seed: int, turns: int) -> None:
        self.figures: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self._fleet = behind
        self._upstream = upstream
        self._clients = callers
        self._dice = random.Random(seed)
        self._wanted = turns
        self._asked: dict[str, tuple[str, str]] = {}
        self._answers: Counter[str] = Counter()
        upstream.on_seen.append(self._on_seen)

    async def run(self, concurrently: int) -> None:
        """Take all turns."""
        talks = asyncio.gather(*(self._talks() for _ in range(concurrently)))
        havoc = asyncio.create_task(self._havoc())
        running: list[asyncio.Future[Any]] = [talks, havoc]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if havoc.done():
            talks.cancel()
            await havoc  # raises: a replica did not start
        havoc.cancel()
        await asyncio.wait({havoc})
        await talks

    # Replicas.

    async def _havoc(self) -> None:
        """Kill, freeze and drain replicas, one or two at a time, and start them again."""
        down: dict[Process, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as strikes:
            while True:
                await asyncio.sleep(self._dice.uniform(0.1, 0.8))
                down = {each: task for each, task in down.items() if not task.done()}
                up = [each for each in self._fleet.replicas if each not in down]
                if len(up) > 1 and (len(up) == REPLICAS or self._dice.random() < 0.5):
                    one = self._dice.choice(up)
                    fate = self._dice.choices(("killed", "frozen", "drained"), (6, 1, 3))[0]
                    self.figures[fate] += 1
                    down[one] = strikes.create_task(self._strike(one, fate, self._dice.uniform(0, 1.5)))

    async def _strike(self, one: Process, fate: str, for_s: float) -> None:
        if fate == "drained":
            one.signal(signal.SIGTERM)
        else:
            if fate == "frozen":
                one.signal(signal.SIGSTOP)
                await asyncio.sleep(for_s)
            one.signal(signal.SIGKILL)
        await one.ended()
        if fate == "killed":
            await asyncio.sleep(for_s)
        await one.start()

    # Conversations.

    async def _talks(self) -> None:
        while self.figures["turns"] < self._wanted:
            token = f"q{self._dice.getrandbits(40):010x}"
            await Talk(self, token, random.Random(self._dice.random())).talk()

    @property
    def is_done(self) -> bool:
        """Whether all turns were begun."""
        return self.figures["turns"] >= self._wanted

    def caller(self, token: str, dice: random.Random, settings: JSON) -> tuple[str, Caller]:
        """A new conversation by a client of random kind, and the name of the kind."""
        kind = dice.choices(("chat", "keyed", "keyless", "sdk", "dropin"), (3, 3, 1, 5, 3))[0]
        if kind in ("chat", "keyed", "keyless"):
            client = dice.choice(self._clients.lanes)
            if kind == "chat":
                return kind, Chat(client, settings)
            return kind, Keyed(client, token if kind == "keyed" else None, settings)
        sdk = dice.choice(self._clients.sdks if kind == "sdk" else self._clients.dropins)
        has_key, chains = dice.random() < 0.5, dice.random() < 0.4
        if kind == "sdk" and ACTING in settings["tools"]:
            sdk = sdk.with_options(max_retries=0)  # it repeats requests of which it had no answer
        names = [kind, "with key" if has_key else "without key", *(["chained"] if chains else [])]
        return " ".join(names), Sdk(sdk, token if has_key else None, chains=chains, settings=settings)

    # Findings.

    def asks(self, tag: str, held: str, kind: str, name: str) -> None:
        """A turn begins whose context has this fingerprint."""
        self._asked[tag] = held, name
        self.kinds[kind] += 1
        self.figures["turns"] += 1
        if self.figures["turns"] % REPORTED == 0:
            print(f"{self.figures['turns']:,} turns", file=sys.stderr, flush=True)

    def _on_seen(self, seen: Seen) -> None:
        self.figures["responses"] += 1
        held, name = self._asked.get(seen.tag, ("", seen.tag))
        if seen.foreign:
            self.found("wrong_context", f"{name}: {seen.foreign}")
        if not seen.tag:
            return
        if held != seen.fingerprint:
            self.found("wrong_context", f"{name}: the context is not that of its caller")
        self._answers[seen.tag] += 1
        if self._answers[seen.tag] > 1:
            self.figures["billed_twice"] += 1
            if seen.acts:
                self.found("acted_twice", name)

    def found(self, kind: str, what: str) -> None:
        """Count something that must not happen, and print it."""
        self.figures[kind] += 1
        print(f"{kind}: {what}", file=sys.stderr, flush=True)

    async def check(self, talk: str, heard: Heard, held: str) -> None:
        """Compare the context of a complete response."""
        try:
            seen = await self._upstream.seen(heard.response_id)
        except TimeoutError:
            self.found("wrong_context", f"{talk}: the service knows no response {heard.response_id}")
            return
        if seen.fingerprint != held and not seen.tag:  # the others were compared when they began
            self.found("wrong_context", f"{talk}: the context is not that of its caller")


class Talk:
    """One conversation.

    Args:
        soak: the run.
        token: occurs in all texts of the conversation and in no other one.
        dice: of its choices.
    """

    def __init__(self, soak: Soak, token: str, dice: random.Random) -> None:
        self._soak = soak
        self._token = token
        self._dice = dice
        self._begins_alike = dice.random() < 0.2
        self._acts = dice.random() < 0.2
        has_instructions = not self._begins_alike and dice.random() < 0.4
        self._is_stored = dice.random() < 0.5
        settings: JSON = {"tools": [ACTING] if self._acts else FUNCTIONS, "store": self._is_stored}
        if not self._is_stored:
            settings["include"] = ["reasoning.encrypted_content"]
        self._instructions = f"You are {token}.0." if has_instructions else None
        if self._instructions is not None:
            settings["instructions"] = self._instructions
        self.kind, self._caller = soak.caller(token, dice, settings)
        self._held: list[JSON] = []
        self._owed: list[JSON] = []

    async def talk(self) -> None:
        """Take some turns."""
        for number in range(1, self._dice.randint(4, 12)):
            if self._soak.is_done:
                return
            if self._held and self._dice.random() < 0.1:
                self._rewrite(number)
            await self._turn(number)

    def _rewrite(self, number: int) -> None:
        """Replace the end of the history, or one message in it, as an application may between turns."""
        other = user(f"{self._token}.{number} in other words")
        said = [index for index, item in enumerate(self._held) if item.get("role") == "user"]
        if said and self._dice.random() < 0.5:
            self._held[self._dice.choice(said)] = other
        else:
            cut = self._dice.randrange(len(self._held))
            self._held = [*(item for item in self._held[:cut] if "role" in item), other]
            self._owed = []
        self._caller.rewrite(self._held)

    async def _turn(self, number: int) -> None:
        soak, tag = self._soak, f"{self._token}.{number}"
        text = self._text(tag, number)
        new = [output_for(call, f"{tag} is sunny") for call in self._owed] or [user(text)]
        models, weights = ("echo", "reason", "mixed"), (6, 2, 0 if self._acts else 2)
        model = self._dice.choices(models, weights)[0]
        if "function_call_output" in new[0].values():
            model = "mixed"
        turn = Asked(list(self._held), new, model, self._dice.random() < 0.7)
        held = fingerprint([*turn.held, *turn.new], self._instructions)
        facts = (
            self.kind,
            model,
            "stored" if self._is_stored else "unstored",
            "streamed" if turn.is_streamed else "whole",
            *(["may act"] if self._acts else []),
        )
        name = f"{tag} ({', '.join(facts)})"
        soak.asks(tag, held, self.kind, name)
        heard, is_failed = Heard(), False
        try:
            async with asyncio.timeout(_HANGS_S):
                await self._caller.take(turn, heard)
        except TYPED as error:
            is_failed = True
            soak.errors[_name_of(error)] += 1
        except TimeoutError:
            is_failed = True
            soak.found("lost", f"{name} hangs")
        except Exception:
            is_failed = True
            soak.found("lost", f"{name}: {traceback.format_exc()}")
        if not is_failed and not heard.response_id:
            soak.found("lost", f"{name} ended without a response and without an error")
        spoken = text if model != "mixed" and new[0].get("role") == "user" else None
        if not _is_heard_once(heard, spoken):
            soak.found("heard_twice", f"{name}: {heard.beginnings} beginnings, {heard.text!r}")
        if heard.response_id:
            soak.figures["answered"] += 1
            await soak.check(name, heard, held)
        elif heard.text:
            soak.figures["cut"] += 1
        keeps = self._is_stored or self._dice.random() < 0.5
        self._held = held_after(turn, heard, keeps_reasoning=keeps)
        if len(self._held) > len(turn.held):
            self._owed = [item for item in heard.output if item["type"] == "function_call"]
        self._caller.after(turn, heard, self._held)

    def _text(self, tag: str, number: int) -> str:
        if self._begins_alike and number == 1:
            return OPENING
        about = "weather in Oslo" if self._dice.random() < 0.3 else " ".join(self._dice.sample(WORDS, 6))
        return f"{tag} {about}"


def _is_heard_once(heard: Heard, spoken: str | None) -> bool:
    """Whether the text is that of one answer, or its beginning.

    Args:
        heard: what the caller heard.
        spoken: the whole text, where it is known before.
    """
    if heard.beginnings > 1:
        return False
    if heard.response_id:
        return heard.text == heard.full_text and spoken in (None, heard.text)
    return spoken is None or spoken.startswith(heard.text)


def _name_of(error: BaseException) -> str:
    code = getattr(error, "code", None)
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    name = type(error).__name__ if type(error) is not openai.OpenAIError else str(error)
    return " ".join(str(part) for part in (name, status, code) if part)


def commit() -> str:
    """The commit of this tree; with ``+`` if it was changed."""
    described = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(described, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


async def soaked(turns: int, seed: int, concurrently: int, balancer: Balancer) -> JSON:
    """The record of a run."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            service() as upstream,
            fleet(Path(folder), upstream.base_url, REPLICAS, balancer) as behind,
            clients(behind.base_url) as callers,
        ):
            soak = Soak(behind, upstream, callers, seed=seed, turns=turns)
            begun = time.monotonic()
            await soak.run(concurrently)
            seconds = time.monotonic() - begun
    counted = ("turns", "answered", "cut", *FORBIDDEN, "billed_twice", "responses")
    return {
        "commit": commit(),
        "seed": seed,
        "balancer": balancer.name,
        **{name: soak.figures[name] for name in (*counted, "killed", "frozen", "drained")},
        "seconds": round(seconds, 1),
        "turns_per_second": round(soak.figures["turns"] / seconds, 1),
        "errors": dict(soak.errors.most_common()),
        "callers": dict(soak.kinds.most_common()),
    }


def main() -> int:
    """Run, and print the record."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--turns", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--concurrently", type=int, default=48)
    arguments.add_argument("--balancer", choices=list(BALANCERS), default="nginx")
    given = arguments.parse_args()
    balancer = BALANCERS[given.balancer]
    record = asyncio.run(soaked(given.turns, given.seed, given.concurrently, balancer))
    print(json.dumps(record))
    return int(any(record[name] for name in FORBIDDEN))


if __name__ == "__main__":
    sys.exit(main())
