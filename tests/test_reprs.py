"""No `repr` of the package shows keys or content, because logs, debuggers and tracebacks use it."""

from __future__ import annotations

import gc
import re
import traceback
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, is_typeddict

import pytest
from rich.pretty import pretty_repr

import trunkline
from trunkline import Policy
from trunkline._network.http_client import QuietURL
from trunkline._protocol.cut_deltas import CutFrame
from trunkline._protocol.events import MadeFrame
from trunkline._protocol.fields import Fields
from trunkline._protocol.items import Item
from trunkline._protocol.quiet import QuietBytes
from trunkline.emulator import Emulator
from trunkline.events import Event
from trunkline.tools.signature import Signature

from .built import Builder, canary, classes
from .talk import ask, client_of, user

PACKAGE = str(Path(trunkline.__file__).parent)
KEY = "sk-key-of-the-caller"
WORDS = "words-of-the-caller"

IDENTIFIERS = (
    "id _id response_id previous_response_id connection_id conversation_id successor_of lane lane_names"
)
PLACES = "place target host server_address"
NAMES = "name names tool model default_model response_model type wire_type kind event_type transport phase"
STATES = "status _status code error error_code _functions"
SHOWN_FIELDS = frozenset(f"{IDENTIFIERS} {NAMES} {STATES} {PLACES}".split())
"""Parameters that hold neither keys nor content. Logs show them too."""

SHOWN = {
    "TurnError.message": "messages of exceptions hold neither keys nor content",
    "Expectation.contains": "text of the test, which identifies an expectation that was not met",
    "Fault.fields": "names of fields",
    "PoolMetrics.abandoned_usage": "names of token counts",
    "PoolMetrics.removed_reasoning": "reasons that the service names",
    "TurnMetrics.usage": "token counts",
    "Connection.running": "ids of responses, in the emulator",
    "Steering.queued": "ids of responses, in the emulator",
    "Steering.pending": "ids of responses, in the emulator",
    "_Lane.waiting": "of a type variable: its values have their own `repr`",
    "Settings.faults": "the path of a file",
    "Settings.quirks": "names of servers",
    "Settings.uds": "the path of a socket",
    "Settings.allowed_origins": "origins of web pages",
    "Settings.api_key_env": "the name of a variable",
}


def look_up(words: str = "canary!Signature.default!") -> str:
    """Look something up."""
    return words


def builder() -> Builder:
    return Builder(
        {
            Item: lambda: Item.of(user(canary("Item.content"))),
            Fields: lambda: Fields.of(
                {"model": canary("Fields.model"), "instructions": canary("Fields.instructions")}
            ),
            Signature: lambda: Signature.of(look_up),
            QuietBytes: lambda: QuietBytes(canary("QuietBytes.content").encode()),
            MadeFrame: lambda: MadeFrame(canary("MadeFrame.content").encode()),
            CutFrame: lambda: CutFrame(canary("CutFrame.content").encode()),
            QuietURL: lambda: QuietURL(f"https://host/path?key={canary('QuietURL.url')}"),
        }
    )


def shows_more_than_its_name(cls: type) -> bool:
    """Whether the class can have instances and defines its own `repr` or `str`."""
    if getattr(cls, "_is_protocol", False) or issubclass(cls, Enum | BaseException) or is_typeddict(cls):
        return False
    if issubclass(cls, Event) and not hasattr(cls, "type"):  # a base class of events
        return False
    return not (cls.__repr__ is object.__repr__ and cls.__str__ is object.__str__)


CLASSES = [cls for cls in classes() if shows_more_than_its_name(cls)]


def forms(value: object) -> str:
    """Every printed form of an object: `repr`, `format` and rich."""
    return f"{value!r} {value} {pretty_repr(value)}"


def leaks(cls: type) -> set[str]:
    shown = set(re.findall(r"canary!([\w.]+)!", forms(builder().build(cls))))
    return {name for name in shown if name not in SHOWN and name.split(".")[1] not in SHOWN_FIELDS}


async def test_no_class_shows_keys_or_content() -> None:
    assert len(CLASSES) > 80
    found = {f"{cls.__module__}.{cls.__name__}": leaks(cls) for cls in CLASSES}
    assert {name: shown for name, shown in found.items() if shown} == {}


# Objects of a running client.


def calls(emulator: Emulator, transport: str, **options: Any) -> trunkline.Client:
    """A client with its key in every argument that may hold one."""
    emulator.api_key = KEY
    options = {"base_url": f"{emulator.base_url}?api-key={KEY}", "transport": transport, **options}
    headers = {"x-team-key": KEY}
    return client_of(emulator, api_key=KEY, headers=headers, policy=Policy(max_attempts=1), **options)


def seen_in_live_objects() -> dict[str, str]:
    """Live objects of the package whose printed form has the key or the words, by class."""
    alive = [each for each in gc.get_objects() if type(each) in classes()]
    shown = {type(each).__name__: forms(each) for each in alive}
    assert {"Client", "Conversation", "ResponseStream", "RequestRecord"} <= shown.keys()
    return {name: text for name, text in shown.items() if KEY in text or WORDS in text}


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_no_object_shows_keys_or_content_while_turns_run(transport: str) -> None:
    async with Emulator(frames=100) as emulator, calls(emulator, transport) as client:
        chat = client.conversation(model="tools", instructions=WORDS, tools=[look_up])
        response = await chat.run(f"look up {WORDS}")
        assert WORDS in response.output_text
        with pytest.raises(trunkline.ResponseFailed) as failure:
            await ask(client.conversation(model="fail-server_error"), WORDS)
        emulator.faults.add("stall", event=20)
        async with client.stream(model="echo", input=f"{WORDS} " * 100) as stream:
            events = [await anext(stream) for _ in range(8)]
            assert WORDS in events[-1].raw.decode()
            if transport == "websocket":
                await stream.steer(WORDS)
            assert seen_in_live_objects() == {}
        assert KEY not in forms(failure.value)
        assert WORDS not in forms(failure.value)


def in_our_frames(trace: traceback.TracebackException | None) -> Iterator[tuple[str, str, str]]:
    """Local variables in frames of the package, for an exception and its causes and contexts."""
    if trace is None:
        return
    for frame in trace.stack:
        if frame.filename.startswith(PACKAGE):
            for name, value in (frame.locals or {}).items():
                yield f"{Path(frame.filename).name} {frame.name}", name, value
    yield from in_our_frames(trace.__cause__)
    yield from in_our_frames(trace.__context__)


async def drop(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("drop", event_type="response.output_text.delta", times=None)
    await ask(client.conversation(model="echo"), WORDS)


async def reject(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("reject", status=400, code="invalid_prompt")
    await ask(client.conversation(model="echo"), WORDS)


async def fail(emulator: Emulator, client: trunkline.Client) -> None:
    await ask(client.conversation(model="fail-server_error"), WORDS)


async def misconfigure(emulator: Emulator, client: trunkline.Client) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": WORDS}
    await ask(client.conversation(model="echo"), [user(WORDS), call])


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("fault", [drop, reject, fail, misconfigure])
async def test_a_traceback_with_locals_shows_neither_key_nor_content(
    emulator: Emulator, transport: str, fault: Any
) -> None:
    async with calls(emulator, transport) as client:
        with pytest.raises(trunkline.TrunklineError) as failure:
            await fault(emulator, client)
    trace = traceback.TracebackException.from_exception(failure.value, capture_locals=True)
    shown = [*in_our_frames(trace)]
    assert shown
    assert [each for each in shown if KEY in each[2] or WORDS in each[2]] == []
