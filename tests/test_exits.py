"""Programs that do not close their client: the exit code is unchanged, and stderr has only warnings."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .waiting import soon

PREAMBLE = """
import asyncio, gc, logging, os, signal, sys, threading, warnings
import trunkline

logging.getLogger("asyncio").addFilter(lambda record: not str(record.msg).startswith("Executing"))
URL, KEY, UNANSWERED, TRANSPORT = sys.argv[1:]

def new(url=URL, **options):
    if TRANSPORT == "http":
        return trunkline.Client(base_url=url, api_key=KEY, transport="http", **options)
    return trunkline.Client(base_url=url, api_key=KEY, lanes=True, **options)

async def ask(client):
    return await client.conversation(model="echo").run("hello")

async def read(client, begun):
    async with client.conversation(model="words-4000").send("go") as stream:
        async for text in stream.text():
            begun.set()

async def reading(client):
    begun = asyncio.Event()
    task = asyncio.create_task(read(client, begun))
    await begun.wait()
    return task

def run_and_close(main):
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()

def expected(task):
    task._log_destroy_pending = False  # asyncio may report it: it is the program's own task
    return task
"""


@dataclass(frozen=True)
class Program:
    """A program, its exit code, and the number of unclosed clients and streams that it is warned of."""

    text: str
    code: int = 0
    clients: int = 1
    streams: int = 0


PROGRAMS = {
    "a reader that asyncio.run cancels": Program("""
async def main():
    client = new()
    await reading(client)
asyncio.run(main())
"""),
    "a reader with a function that asyncio.run cancels": Program("""
async def main():
    begun = asyncio.Event()
    async def finish():
        async with new().conversation(model="words-4000").send("go") as stream:
            await stream.finish(lambda event: begun.set())
    task = asyncio.create_task(finish())
    await begun.wait()
asyncio.run(main())
"""),
    "a reader inside of a block that asyncio.run cancels": Program(
        """
async def main():
    begun = asyncio.Event()
    async def talk():
        async with new() as client:
            await read(client, begun)
    task = asyncio.create_task(talk())
    await begun.wait()
asyncio.run(main())
""",
        clients=0,
    ),
    "a cancelled task that starts another turn": Program("""
async def main():
    client, begun = new(), asyncio.Event()
    async def talk():
        try:
            await read(client, begun)
        finally:
            await ask(client)
    task = asyncio.create_task(talk())
    await begun.wait()
asyncio.run(main())
"""),
    "a steer whose outcome is open": Program("""
async def main():
    client, begun = new(), asyncio.Event()
    async def steer():
        async with client.conversation(model="words-4000").send("go") as stream:
            async for text in stream.text():
                begun.set()
                await stream.steer("shorter") if TRANSPORT != "http" else None
    task = asyncio.create_task(steer())
    await begun.wait()
asyncio.run(main())
"""),
    "a client in a local variable": Program("""
async def main():
    await ask(new())
asyncio.run(main())
"""),
    "a client in a global variable": Program("""
client = new()
asyncio.run(ask(client))
"""),
    "a stream and its text in global variables": Program("""
async def main():
    global stream, text
    stream = new().conversation(model="words-4000").send("go")
    await stream.__aenter__()
    text = stream.text()
    await text.__anext__()
asyncio.run(main())
"""),
    "a loop that was closed, a client in a local variable": Program("""
async def main():
    await ask(new())
run_and_close(main())
"""),
    "a loop that was closed, a client in a global variable": Program("""
client = new()
run_and_close(ask(client))
"""),
    "a client dropped between two runs of a loop": Program("""
client, loop = new(), asyncio.new_event_loop()
loop.run_until_complete(ask(client))
del client
gc.collect()
loop.run_until_complete(asyncio.sleep(0.2))
loop.close()
"""),
    "text dropped while its loop is stopped": Program(
        """
async def main():
    stream = client.conversation(model="words-4000").send("go")
    await stream.__aenter__()
    text = stream.text()
    await text.__anext__()
    return text
client, loop = new(), asyncio.new_event_loop()
text = loop.run_until_complete(main())
del text, client
gc.collect()
loop.close()
""",
        streams=1,
    ),
    "a task cancelled after its loop was closed": Program("""
async def main():
    return expected(await reading(new()))
task = run_and_close(main())
task.cancel()
del task
gc.collect()
"""),
    "a block whose task is destroyed": Program(
        """
async def main():
    begun = asyncio.Event()
    async def talk():
        async with new() as client:
            await read(client, begun)
    task = asyncio.create_task(talk())
    await begun.wait()
    return expected(task)
task = run_and_close(main())
del task
gc.collect()
""",
    ),
    "a tool whose task is destroyed": Program("""
async def main():
    begun = asyncio.Event()
    async def get_weather(city: str) -> str:
        "The weather in a city."
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)
    chat = new().conversation(model="tools", tools=[get_weather])
    task = asyncio.create_task(chat.run("What is the weather in Oslo?"))
    await begun.wait()
    return expected(task)
task = run_and_close(main())
del task
gc.collect()
"""),
    "a dial that asyncio.run cancels": Program("""
async def main():
    task = asyncio.create_task(ask(new(UNANSWERED)))
    await asyncio.sleep(0.3)
asyncio.run(main())
"""),
    "a dial whose loop is closed": Program("""
async def main():
    task = asyncio.create_task(ask(new(UNANSWERED)))
    await asyncio.sleep(0.3)
    return expected(task)
task = run_and_close(main())
del task
gc.collect()
"""),
    "a turn that waits for room": Program("""
async def main():
    client = new(limits=trunkline.PoolLimits(max_connections=1, max_in_flight=1))
    tasks = [await reading(client), asyncio.create_task(ask(client))]
    await asyncio.sleep(0.1)
asyncio.run(main())
"""),
    "sys.exit in a block": Program(
        """
async def main():
    async with new() as client:
        async with client.conversation(model="words-4000").send("go") as stream:
            async for text in stream.text():
                sys.exit(3)
asyncio.run(main())
""",
        code=3,
        clients=0,
    ),
    "sys.exit in a function that reads": Program(
        """
async def main():
    events = []
    def read(event):
        events.append(event)
        if len(events) > 12:
            sys.exit(3)
    async with new().conversation(model="words-4000").send("go") as stream:
        await stream.finish(read)
asyncio.run(main())
""",
        code=3,
    ),
    "an error of the program": Program(
        """
async def main():
    client = new()
    await reading(client)
    raise LookupError("its own")
try:
    asyncio.run(main())
except LookupError:
    sys.exit(5)
""",
        code=5,
    ),
    "Ctrl-C": Program(
        """
async def main():
    client = new()
    await reading(client)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests were started
try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(6)
""",
        code=6,
    ),
    "a second run with the same client": Program(
        """
client = new()
asyncio.run(ask(client))
try:
    asyncio.run(ask(client))
except trunkline.ClientClosed:
    sys.exit(7)
""",
        code=7,
    ),
    "a client closed in a second run": Program(
        """
client = new()
asyncio.run(ask(client))
asyncio.run(client.close())
asyncio.run(ask(new()))
"""
    ),
    "a client dropped in another thread": Program("""
async def main():
    box = [new()]
    await ask(box[0])
    await asyncio.to_thread(box.clear)
    await asyncio.sleep(0.2)
asyncio.run(main())
"""),
    "a stream dropped in another thread": Program(
        """
async def main():
    async with new() as client:
        box = [client.conversation(model="words-4000").send("go")]
        await box[0].__aenter__()
        await box[0].__anext__()
        await asyncio.to_thread(box.clear)
        await asyncio.sleep(0.2)
        assert TRANSPORT == "http" or client.metrics.abandoned == 1
asyncio.run(main())
""",
        clients=0,
        streams=1,
    ),
    "a loop that still runs in a thread": Program("""
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
client = new()
task = asyncio.run_coroutine_threadsafe(reading(client), loop).result()
"""),
    "a client that a forked process inherits": Program(
        """
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
client = new()
loop.run_until_complete(ask(client))

def in_child(work):
    with warnings.catch_warnings():  # the resolver of asyncio has a thread; Python 3.12 warns of it
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        work()
        sys.exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    loop.run_until_complete(ask(client))
    if TRANSPORT != "http":
        assert client.metrics.dials == 1, client.metrics

def drop():
    global client
    del client
    gc.collect()

def talk():
    for run in (asyncio.run, loop.run_until_complete):
        try:
            run(ask(client))
        except trunkline.ClientClosed:
            pass
        else:
            raise AssertionError

def talk_with_another():
    async def main():
        async with new() as other:
            await ask(other)
    asyncio.run(main())

in_child(drop)
in_child(lambda: loop.run_until_complete(client.close()))
in_child(lambda: asyncio.run(client.close()))
in_child(loop.close)
in_child(talk)
in_child(talk_with_another)
loop.run_until_complete(client.close())
loop.close()
""",
        clients=0,
    ),
    "a client that is used first in a forked process": Program(
        """
client = new()
child = os.fork()
async def main():
    async with client:
        await ask(client)
asyncio.run(main())
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
        clients=0,
    ),
    "SIGTERM with a handler that drains": Program(
        """
async def main():
    asked, client = asyncio.Event(), new()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    task = await reading(client)
    os.kill(os.getpid(), signal.SIGTERM)
    await asked.wait()
    await client.drain(0.05)
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], trunkline.ConnectionLost)
asyncio.run(main())
""",
        clients=0,
    ),
    "SIGTERM without a handler": Program(
        """
async def main():
    await reading(new())
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
asyncio.run(main())
""",
        code=-15,
        clients=0,
    ),
    "SIGTERM that a handler turns into an exit": Program(
        """
def leave(*_):
    sys.exit(5)
signal.signal(signal.SIGTERM, leave)
async def main():
    client = new()
    task = await reading(client)
    os.kill(os.getpid(), signal.SIGTERM)
    await task
asyncio.run(main())
""",
        code=5,
    ),
    "a garbage cycle": Program("""
async def main():
    class Session: pass
    session = Session()
    session.itself, session.client = session, new()
    session.stream = session.client.conversation(model="words-4000").send("go")
    await session.stream.__aenter__()
    await session.stream.__anext__()
asyncio.run(main())
"""),
}
OVER_HTTP = [
    "a reader that asyncio.run cancels",
    "a client in a local variable",
    "a client in a global variable",
    "a stream and its text in global variables",
    "a loop that was closed, a client in a local variable",
    "a client dropped between two runs of a loop",
    "text dropped while its loop is stopped",
    "a task cancelled after its loop was closed",
    "a block whose task is destroyed",
    "a dial whose loop is closed",
    "sys.exit in a function that reads",
    "Ctrl-C",
    "a client closed in a second run",
    "a stream dropped in another thread",
    "a client that a forked process inherits",
    "SIGTERM with a handler that drains",
    "SIGTERM without a handler",
    "SIGTERM that a handler turns into an exit",
]
AS_USERS_RUN_IT = [
    "a reader that asyncio.run cancels",
    "a client in a global variable",
    "a loop that was closed, a client in a global variable",
    "a task cancelled after its loop was closed",
    "sys.exit in a function that reads",
]
UVLOOP = "import uvloop\nasyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n"
WARNING = re.compile(r"^\S*:\d+: ResourceWarning: (?P<words>.*)\n(?:  .*\n)?", re.MULTILINE)
HINT = "ResourceWarning: Enable tracemalloc to get the object allocation traceback\n"


@pytest.fixture
def unanswered() -> Iterator[str]:
    """A URL whose server never accepts: its backlog is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


async def run(
    text: str, emulator: Emulator, *others: str, options: tuple[str, ...] = ()
) -> tuple[int | None, str]:
    """Run a program against this server; return its exit code and its stderr."""
    emulator.pace = Pace(0.0, 200)
    arguments = [*options, "-c", PREAMBLE + text, emulator.base_url, emulator.api_key or "", *others]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHONW")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        _, stderr = await soon(process.communicate(), within_s=60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, stderr.decode()


@pytest.mark.parametrize(
    ("name", "transport"),
    [*((name, "websocket") for name in PROGRAMS), *((name, "http") for name in OVER_HTTP)],
)
async def test_in_development_mode_a_program_warns_once_and_prints_nothing_else(
    name: str, transport: str, unanswered: str, emulator: Emulator
) -> None:
    program = PROGRAMS[name]
    code, stderr = await run(program.text, emulator, unanswered, transport, options=("-X", "dev"))
    assert WARNING.sub("", stderr).replace(HINT, "") == ""
    words = [match["words"] for match in WARNING.finditer(stderr)]
    assert sum("trunkline.Client" in each for each in words) == program.clients, stderr
    assert sum("ResponseStream" in each for each in words) == program.streams, stderr
    assert code == program.code


@pytest.mark.parametrize("loop", ["", UVLOOP], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", AS_USERS_RUN_IT)
async def test_without_development_mode_a_program_prints_no_warning(
    name: str, loop: str, unanswered: str, emulator: Emulator
) -> None:
    program = PROGRAMS[name]
    assert await run(loop + program.text, emulator, unanswered, "websocket") == (program.code, "")
