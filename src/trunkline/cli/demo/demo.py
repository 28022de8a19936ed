"""``trunkline demo``: a telephone call on the embedded emulator, with its figures."""

from __future__ import annotations

import asyncio

from rich.console import Console

from ..._observe.hooks import Hooks
from ..._observe.metrics import TurnMetrics
from ...client import Client
from ...conversation import Conversation
from ...emulator import Emulator
from ...events import OutputItemDone, OutputTextDelta, ServerEvent
from ..contexts import difference
from ..terminal import printable
from .report import Row, print_report
from .script import INSTRUCTIONS, SCENES, Scene, find_trains, get_weather, model

MODEL = "gpt-6-astra"
FIRST_TOKEN_S = 0.2
TOKENS_PER_SECOND = 30.0


def run(out: Console) -> int:
    """Run the demo. Return the exit code: 1 if the model's context differs from the history."""
    return asyncio.run(_demo(out))


async def _demo(out: Console) -> int:
    call = _Call(out)
    async with (
        Emulator(first_token_s=FIRST_TOKEN_S, tokens_per_second=TOKENS_PER_SECOND) as emulator,
        Client(
            base_url=emulator.base_url,
            api_key=emulator.api_key,
            lanes=True,
            hooks=Hooks(turn_finished=call.note),
        ) as client,
    ):
        emulator.add_model(MODEL, model)
        await client.warm(model=MODEL)
        chat = client.conversation(model=MODEL, instructions=INSTRUCTIONS, tools=[get_weather, find_trains])
        out.out(
            "The answers come from a script in the embedded emulator: no model, no key, no network.\n",
            style="dim",
        )
        for scene in SCENES:
            await call.play(scene, chat)
        print_report(call.rows, client.metrics.dials, out)
        return _judge(chat, emulator, call.last_response_id, out)


class _Call:
    """Prints the call and collects the figures of its turns."""

    def __init__(self, out: Console) -> None:
        self.rows: list[Row] = []
        self.last_response_id = ""
        self._out = out
        self._scene = 0
        self._is_speaking = False

    def note(self, metrics: TurnMetrics) -> None:
        """Store the figures of an ended turn."""
        self.rows.append(Row(self._scene, metrics))

    async def play(self, scene: Scene, chat: Conversation) -> None:
        """Run one scene and print it as it streams."""
        self._scene += 1
        self._out.out("caller ", style="bold cyan", end="")
        self._out.out(scene.words, highlight=False)
        if scene.stop_after_words is None:
            response = await chat.run(scene.words, on_event=self._show)
            self.last_response_id = response.id
            self._end_line()
        else:
            await self._interrupt(scene, chat, scene.stop_after_words)

    async def _interrupt(self, scene: Scene, chat: Conversation, stop_after_words: int) -> None:
        async with chat.send(scene.words) as stream:
            async for event in stream:
                self._show(event)
                if len(stream.received_text.split()) >= stop_after_words:
                    break
        heard = " ".join(stream.received_text.split()[: scene.heard_words])
        stream.heard(heard)
        self._out.out(" --", style="yellow", end="")
        self._end_line()
        self._note(f"the caller interrupts, and has heard: {heard}")

    def _show(self, event: ServerEvent) -> None:
        if isinstance(event, OutputTextDelta):
            if not self._is_speaking:
                self._out.out("agent  ", style="bold green", end="")
            self._is_speaking = True
            self._out.out(printable(event.delta), end="", highlight=False)
        elif isinstance(event, OutputItemDone) and event.item["type"] == "function_call":
            self._note(f"calls {event.item['name']} {event.item['arguments']}")

    def _note(self, text: str) -> None:
        self._out.out(f"       ({printable(text)})", style="dim", highlight=False)

    def _end_line(self) -> None:
        self._is_speaking = False
        self._out.out("")


def _judge(chat: Conversation, emulator: Emulator, response_id: str, out: Console) -> int:
    record = emulator.responses[response_id]
    fault = difference(chat.items, [*record.effective_context, *record.output])
    if fault is not None:
        out.out(f"The model's context differs from chat.items: {fault}", style="bold red", highlight=False)
        return 1
    out.out(
        f"The context of the last response in the emulator equals chat.items, all {len(chat.items)} of them.",
        style="bold green",
        highlight=False,
    )
    return 0
