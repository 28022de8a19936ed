"""A task goes on in the very callback that read what it waits for, and nothing of asyncio is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextvars import ContextVar
from typing import Any

import pytest

from trunkline._network.wakeups import Wait, Wakeups

from ..peer import PING, TEXT, Open, Recorder, frame
from ..waiting import soon, until

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Bell(Wait):
    """Rings for one task at a time."""

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self


@pytest.fixture
def wakeups() -> Wakeups:
    return Wakeups()


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Any], asyncio.Task[Any]]]:
    """Start a task; what still waits at the end is cancelled."""
    tasks: list[asyncio.Task[Any]] = []

    def create(waiting: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.ensure_future(waiting))
        return tasks[-1]

    yield create
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Start = Callable[[Any], asyncio.Task[Any]]


async def ring(bell: Bell, heard: list[Any], name: Any = "rung") -> None:
    await bell
    heard.append(name)


async def in_a_callback(what: Callable[[], object]) -> Any:
    """What a callback of the event loop returns or raises: no task runs in it."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            done.set_result(what())
        except BaseException as error:
            done.set_result(error)

    asyncio.get_running_loop().call_soon(call)
    return await done


def reading(wakeups: Wakeups, *bells: Bell) -> Callable[[], None]:
    """What the callback of a frame does that ends these waits."""

    def read() -> None:
        wakeups.is_reading = True
        for bell in bells:
            bell.end()
        wakeups.is_reading = False

    return read


async def test_tasks_go_on_in_the_callback_in_the_order_in_which_their_waits_ended(
    wakeups: Wakeups, start: Start
) -> None:
    heard: list[Any] = []
    bells = [Bell(wakeups) for _ in range(3)]
    for name, bell in enumerate(bells):
        start(ring(bell, heard, name))
    await asyncio.sleep(0)

    def read() -> list[Any]:
        reading(wakeups, bells[2], bells[0], bells[1])()
        before = list(heard)
        wakeups.flush()
        return [before, list(heard)]

    assert await in_a_callback(read) == [[], [2, 0, 1]]


async def test_outside_of_reading_the_event_loop_lets_them_go_on(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)
    task = start(ring(bell, heard))
    await asyncio.sleep(0)
    bell.end()
    assert heard == []
    await soon(task)
    assert heard == ["rung"]


async def test_inside_of_a_task_nobody_goes_on_before_the_next_round(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)
    task = start(ring(bell, heard))
    await asyncio.sleep(0)
    reading(wakeups, bell)()
    wakeups.flush()
    assert heard == []
    await soon(task)


async def test_one_wait_serves_again_and_again(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)

    async def count() -> None:
        for number in range(5):
            await ring(bell, heard, number)

    task = start(count())
    await asyncio.sleep(0)

    def read() -> None:
        reading(wakeups, bell)()
        wakeups.flush()

    for _ in range(5):
        await in_a_callback(read)
    await soon(task)
    assert heard == [0, 1, 2, 3, 4]


async def test_an_end_that_nobody_waits_for_is_nothing(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)
    bell.end()
    bell.end_with(ValueError("not for you"))
    task = start(ring(bell, heard))
    await asyncio.sleep(0)
    assert (wakeups.due, heard) == ([], [])
    bell.end()
    bell.end()
    assert wakeups.due == [bell]
    await soon(task)


async def test_a_task_that_is_cancelled_hears_of_it_once(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)

    async def insist() -> None:
        try:
            await bell
        except asyncio.CancelledError as error:
            heard.append(error.args)
        await ring(bell, heard)

    task = start(insist())
    await asyncio.sleep(0)
    assert task.cancel("enough")
    await until(lambda: heard == [("enough",)], "it has heard")
    bell.end()
    await soon(task)
    assert heard == [("enough",), "rung"]


async def test_a_task_is_cancelled_also_when_its_wait_is_over_already(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)
    task = start(ring(bell, heard))
    await asyncio.sleep(0)
    bell.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == []
    start(ring(bell, heard, "another"))
    await asyncio.sleep(0)
    bell.end()
    await until(lambda: heard == ["another"], "it serves the next")


async def test_time_outs_work(wakeups: Wakeups) -> None:
    bell = Bell(wakeups)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await bell
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ring(bell, []), 0.001)


async def test_what_it_is_ended_with_is_raised_where_it_is_waited_for(wakeups: Wakeups, start: Start) -> None:
    bell = Bell(wakeups)
    task = start(ring(bell, []))
    await asyncio.sleep(0)
    bell.end_with(ValueError("mine"))
    with pytest.raises(ValueError, match="mine"):
        await soon(task)


async def test_a_task_goes_on_in_its_own_context(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bell = Bell(wakeups)

    async def tell(name: str) -> None:
        WHO.set(name)
        await bell
        heard.append((WHO.get(), asyncio.current_task()))
        WHO.set("changed")

    task = start(tell("one"))
    await asyncio.sleep(0)

    def read() -> str:
        WHO.set("reader")
        reading(wakeups, bell)()
        wakeups.flush()
        return WHO.get()

    assert await in_a_callback(read) == "reader"
    assert heard == [("one", task)]


async def test_when_one_ends_the_program_the_others_still_go_on(wakeups: Wakeups, start: Start) -> None:
    heard: list[Any] = []
    bells = [Bell(wakeups) for _ in range(3)]

    async def interrupt() -> None:
        await bells[0]
        raise KeyboardInterrupt

    interrupting = start(interrupt())
    others = [start(ring(bell, heard)) for bell in bells[1:]]
    await asyncio.sleep(0)

    def read() -> None:
        reading(wakeups, *bells)()
        wakeups.flush()

    assert isinstance(await in_a_callback(read), KeyboardInterrupt)
    await soon(asyncio.gather(*others))
    assert isinstance(interrupting.exception(), KeyboardInterrupt)


async def test_asyncio_takes_it_for_what_it_is(wakeups: Wakeups, start: Start) -> None:
    bell = Bell(wakeups)
    assert asyncio.isfuture(bell)
    task = start(ring(bell, []))
    await asyncio.sleep(0)
    assert "<Bell: awaited>" in repr(task)
    assert task.get_stack()


# With a socket.


class Ringing(Recorder):
    """Every message rings."""

    def __init__(self, bell: Bell) -> None:
        super().__init__()
        self.bell = bell

    def on_message(self, payload: bytes) -> None:
        super().on_message(payload)
        self.bell.end()


async def rounds_until_heard(opened: Open, start: Start, *frames: bytes) -> list[int]:
    """How many messages each wait has found, when these frames arrive in one piece."""
    wakeups = Wakeups()
    bell = Bell(wakeups)
    receiver = Ringing(bell)
    _, peer, _ = await opened(receiver, wakeups=wakeups)
    found: list[int] = []

    async def listen() -> None:
        while True:
            await bell
            found.append(len(receiver.messages))

    start(listen())
    await asyncio.sleep(0)
    peer.write(b"".join(frames))
    await until(lambda: bool(found) and len(receiver.messages) == found[-1], "all was heard")
    return found


@pytest.mark.usefixtures("complaints", "no_proxy")
async def test_a_task_finds_all_that_was_read_and_is_woken_once(opened: Open, start: Start) -> None:
    frames = [frame(TEXT, b"%d" % number) for number in range(20)]
    assert await rounds_until_heard(opened, start, *frames) == [20]


@pytest.mark.usefixtures("complaints", "no_proxy")
async def test_a_task_is_woken_also_when_the_last_frame_is_one_that_is_not_handed_out(
    opened: Open, start: Start
) -> None:
    assert await rounds_until_heard(opened, start, frame(TEXT, b"one"), frame(PING, b"?")) == [1]


@pytest.mark.usefixtures("complaints", "no_proxy")
async def test_a_receiver_that_raises_does_not_keep_others_waiting(opened: Open, start: Start) -> None:
    wakeups = Wakeups()
    heard: list[Any] = []
    bell = Bell(wakeups)

    class Failing(Recorder):
        def on_message(self, payload: bytes) -> None:
            bell.end()
            raise RuntimeError("a mistake")

    _, peer, receiver = await opened(Failing(), wakeups=wakeups)
    task = start(ring(bell, heard))
    await asyncio.sleep(0)
    peer.write(frame(TEXT, b"one"))
    await soon(task)
    await soon(receiver.closed)
    assert not wakeups.is_reading
