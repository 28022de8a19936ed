"""Check that a client can be measured: the rules of `clients.base`, on the scripted server.

    python bench/contract.py [--here] FILE.py:CLASS

The exit code is 1 if a rule is broken. Methods that a client does not have are named with the cases that
leave it out. ``--here`` uses the packages of this interpreter instead of .venv-bench.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import environment
from load.process import server

WITHIN_S = 30.0
"""The time limit of one rule, in seconds."""
NEEDED_BY = {
    "ask(limit)": "handshakes, barge-in",
    "work": "bytes, bytes-instructions, tool-loop",
    "renew": "turn-fresh",
    "warm": "first-turn (the figure with a connection)",
    "prepare": "first-turn (the figure after a warm-up)",
}


def broken(rule: str) -> None:
    """End the check of a rule."""
    raise AssertionError(rule)


async def main(name: str, port: int) -> int:
    """Check all rules; the number of broken ones."""
    from clients import client_named
    from clients.base import Client, Seed, Talk
    from load.order import Order, text_of

    client: Client = client_named(name)
    await asyncio.wait_for(client.open(f"http://127.0.0.1:{port}/v1"), WITHIN_S)

    async def turn(talk: Talk, deltas: int, *, limit: int = 0, rate: int = 0) -> list[str]:
        """One turn; the deltas that the client passed on."""
        heard: list[str] = []
        talk.say("A question. " + text_of(Order(deltas=deltas, rate=rate, stamp=1)))
        told = await talk.ask(heard.append, limit=limit)
        expected = limit or deltas
        if len(heard) != expected or told.deltas != expected:
            broken(f"ask() passed {len(heard)} deltas to `heard` and counted {told.deltas}, of {expected}")
        if not all(text.strip().isdigit() for text in heard):
            broken("ask() must pass each delta to `heard` unchanged, one at a time")
        return heard

    async def deltas() -> None:
        await turn(await client.talk(Seed()), 5)

    async def turns() -> None:
        talk = await client.talk(Seed())
        for count in (3, 5, 2):
            await turn(talk, count)

    async def seeded() -> None:
        await turn(await client.talk(Seed(history=6, tools=2)), 3)

    async def at_once() -> None:
        talks = [await client.talk(Seed()) for _ in range(20)]
        await asyncio.gather(*(turn(talk, 2 + number) for number, talk in enumerate(talks)))

    async def left() -> None:
        talk = await client.talk(Seed())
        await turn(talk, 100, limit=2, rate=50)
        since = time.monotonic_ns()
        heard = await turn(talk, 3)
        if int(heard[0]) < since:
            broken("the turn after ask(limit=2) brought deltas of the answer that was left")

    async def works() -> None:
        talk = await client.talk(Seed(tools=2))
        talk.say("Work. " + text_of(Order(call=2)))
        told = await talk.work()
        if told.responses != 3:
            broken(f"work() counted {told.responses} responses; two tool calls and an answer are 3")

    async def renews() -> None:
        talk = await client.talk(Seed(history=6))
        await turn(talk, 2)
        talk.renew()
        await turn(talk, 3)

    async def warms() -> None:
        await client.warm(1)

    async def prepares() -> None:
        talk = await client.talk(Seed())
        await talk.prepare()
        await turn(talk, 2)

    async def closes() -> None:
        talk = await client.talk(Seed())
        await turn(talk, 2)
        await talk.close()
        await client.close()

    rules: dict[str, Callable[[], Awaitable[None]]] = {
        "ask() passes each delta on": deltas,
        "a conversation has several turns": turns,
        "a conversation begins with a history and tools": seeded,
        "20 conversations run at once": at_once,
        "an answer can be left": left,
        "work() answers tool calls": works,
        "renew() replaces the history": renews,
        "warm() opens connections": warms,
        "prepare() sends a warm-up": prepares,
        "close() releases everything": closes,
    }
    wrong = 0
    for title, rule in rules.items():
        try:
            await asyncio.wait_for(rule(), WITHIN_S)
        except NotImplementedError as missing:
            method = str(missing)
            if method not in NEEDED_BY:
                wrong += 1
            print(f"-       {title}: no {method}; left out of {NEEDED_BY.get(method, 'all cases')}")
        except TimeoutError:
            wrong += 1
            print(f"BROKEN  {title}: it did not end within {WITHIN_S:g} s")
        except Exception as error:
            wrong += 1
            print(f"BROKEN  {title}: {type(error).__name__}: {error}")
        else:
            print(f"ok      {title}")
    return wrong


def checked(name: str) -> int:
    """Check a client on a server of its own; the exit code."""
    with server() as port:
        try:
            wrong = asyncio.run(main(name, port))
        except LookupError as error:
            print(error.args[0])
            return 2
        except TypeError as error:  # the class is abstract, or cannot be made without arguments
            print(f"{name} cannot be made: {error}")
            return 2
    print("the client can be measured" if not wrong else f"{wrong} rules are broken")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("client", help="FILE.py:CLASS, or the name of a client of ours")
    parser.add_argument("--here", action="store_true", help="use this interpreter instead of .venv-bench")
    given = parser.parse_args()
    if not given.here:
        environment.make()
        environment.go_there()
    sys.exit(checked(given.client))
