"""``trunkline demo``: a telephone call on the embedded emulator, with its figures.

The call is made twice at the same time: over trunkline, and unseen over HTTP with the whole history in each
request. Both pass through a `Distance`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from time import monotonic

from rich.console import Console

from ..._observe.hooks import Hooks
from ..._observe.metrics import TurnMetrics
from ...client import Client
from ...conversation import Conversation
from ...emulator import Emulator, RequestRecord
from ...events import OutputItemDone, OutputTextDelta, ServerEvent
from ..contexts import difference
from ..terminal import printable
from ..wrapping import WordWrap
from .distance import Distance
from .report import CallFigures, Row, print_report
from .script import INSTRUCTIONS, SCENES, Scene, find_trains, get_weather, model

MODEL = "gpt-6-astra"
ROUND_TRIP_S = 0.1
FIRST_TOKEN_S = 0.2
TOKENS_PER_SECOND = 30.0

_INDENT = len("caller ")


def run(out: Console) -> int:
    """Run the demo. Return the exit code: 1 if the model's context differs from the history."""
    return asyncio.run(_demo(out))


async def _demo(out: Console) -> int:
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(
            Emulator(first_token_s=FIRST_TOKEN_S, tokens_per_second=TOKENS_PER_SECOND)
        )
        emulator.add_model(MODEL, model)
        shown = _Call(emulator, "websocket", _Transcript(out))
        unseen = _Call(emulator, "http", None)
        for call in (shown, unseen):
            await stack.enter_async_context(call)
        _introduce(out)
        await asyncio.gather(shown.play(), unseen.play())
        print_report(shown.figures(), unseen.figures(), ROUND_TRIP_S, out)
        return _judge(shown.chat, emulator, shown.last_response_id, out)


def _introduce(out: Console) -> None:
    about = WordWrap(out, 0)
    about.write(
        "A telephone call. A script in the embedded emulator answers: no model, no key, no network. Pretended"
        f" are a round trip of {ROUND_TRIP_S * 1000:.0f} ms, and {FIRST_TOKEN_S * 1000:.0f} ms until the"
        " model's first token.",
        style="dim",
    )
    about.end(style="dim")
    out.out("")


class _Transcript:
    """Prints the call while it is played, in lines of at most 80 columns."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._agent: WordWrap | None = None

    def caller(self, text: str) -> None:
        self._out.out("caller ", style="bold cyan", end="")
        self._line(text)

    def agent(self, text: str) -> None:
        if self._agent is None:
            self._out.out("agent  ", style="bold green", end="")
            self._agent = WordWrap(self._out, _INDENT)
        self._agent.write(printable(text))

    def end(self) -> None:
        """End the line of the agent."""
        if self._agent is not None:
            self._agent.end()
        self._agent = None

    def note(self, text: str) -> None:
        self._out.out(" " * _INDENT, end="")
        self._line(f"({printable(text)})", style="dim")

    def _line(self, text: str, style: str | None = None) -> None:
        line = WordWrap(self._out, _INDENT)
        line.write(text, style)
        line.end(style)


class _Call:
    """One client, its conversation and the figures of its turns. An asynchronous context manager.

    Args:
        emulator: the running emulator.
        transport: ``websocket``, or ``http`` with the whole history in each request.
        transcript: shows the call.
    """

    def __init__(self, emulator: Emulator, transport: str, transcript: _Transcript | None) -> None:
        self._emulator = emulator
        self._transport = transport
        self._transcript = transcript
        self._rows: list[Row] = []
        self._scene = 0
        self._interrupted_s: float | None = None
        self._after_interruption_s: float | None = None
        self._stack = AsyncExitStack()
        self._distance = Distance(emulator.base_url, ROUND_TRIP_S)
        self.chat: Conversation
        self.last_response_id = ""

    async def __aenter__(self) -> None:
        self._emulator.on_request.append(self._note_request)
        await self._stack.enter_async_context(self._distance)
        is_http = self._transport == "http"
        if is_http:
            import httpx2  # noqa: F401 - so that the time of the first turn excludes the import
        client = await self._stack.enter_async_context(
            Client(
                base_url=self._distance.base_url,
                api_key=self._emulator.api_key,
                lanes=True,
                transport="http" if is_http else "websocket",
                hooks=Hooks(turn_finished=self._note_turn),
            )
        )
        if not is_http:
            await client.warm(model=MODEL)
        self.chat = client.conversation(
            model=MODEL,
            instructions=INSTRUCTIONS,
            tools=[get_weather, find_trains],
            store=False if is_http else None,  # without a stored parent, each request has the whole history
        )

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def figures(self) -> CallFigures:
        """The figures so far."""
        return CallFigures(
            self._rows, self._distance.handshakes, self._distance.bytes_sent, self._after_interruption_s
        )

    async def play(self) -> None:
        """Make the call."""
        for scene in SCENES:
            self._scene += 1
            if self._transcript is not None:
                self._transcript.caller(scene.words)
            if scene.stop_after_words is None:
                response = await self.chat.run(scene.words, on_event=self._show)
                self.last_response_id = response.id
            else:
                await self._interrupt(scene, scene.stop_after_words)
            if self._transcript is not None:
                self._transcript.end()

    async def _interrupt(self, scene: Scene, stop_after_words: int) -> None:
        async with self.chat.send(scene.words) as stream:
            async for event in stream:
                self._show(event)
                if len(stream.received_text.split()) >= stop_after_words:
                    break
            self._interrupted_s = monotonic()
        heard = " ".join(stream.received_text.split()[: scene.heard_words])
        stream.heard(heard)
        if self._transcript is not None:
            self._transcript.agent(" --")
            self._transcript.end()
            self._transcript.note(f"the caller interrupts, and has heard: {heard}")

    def _note_turn(self, metrics: TurnMetrics) -> None:
        self._rows.append(Row(self._scene, metrics))

    def _note_request(self, request: RequestRecord) -> None:
        """Measure the first request after the interruption, when the server has it."""
        is_first = self._interrupted_s is not None and self._after_interruption_s is None
        if is_first and request.transport == self._transport:
            self._after_interruption_s = monotonic() - (self._interrupted_s or 0.0)

    def _show(self, event: ServerEvent) -> None:
        if self._transcript is None:
            return
        if isinstance(event, OutputTextDelta):
            self._transcript.agent(event.delta)
        elif isinstance(event, OutputItemDone) and event.item["type"] == "function_call":
            self._transcript.note(f"calls {event.item['name']} {event.item['arguments']}")


def _judge(chat: Conversation, emulator: Emulator, response_id: str, out: Console) -> int:
    record = emulator.responses[response_id]
    fault = difference(chat.items, [*record.effective_context, *record.output])
    verdict = WordWrap(out, 0)
    style = "bold green" if fault is None else "bold red"
    if fault is not None:
        verdict.write(f"The model's context differs from chat.items: {fault}", style)
    else:
        verdict.write(
            "The context of the last response in the emulator equals chat.items, all"
            f" {len(chat.items)} of them.",
            style,
        )
    verdict.end(style)
    return 0 if fault is None else 1
