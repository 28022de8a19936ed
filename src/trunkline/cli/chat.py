"""``trunkline chat``: a conversation in the terminal."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console

from .._network.endpoint import Endpoint
from .._observe.metrics import PoolMetrics, TurnMetrics
from ..client import DEFAULT_BASE_URL, Client
from ..conversation import Conversation
from ..emulator import Emulator
from ..errors import MaxTurnsExceeded, TurnError
from ..events import OutputItemDone, OutputTextDelta, RefusalDelta
from .loop_thread import LoopThread
from .sample_tools import calculate, current_time
from .terminal import printable

DEFAULT_MODEL = "gpt-6-astra"
_FIRST_TOKEN_S = 0.15
_TOKENS_PER_SECOND = 30.0
_PATIENCE_S = 2.0
# The lines of a paste arrive together; over a slow connection, in a few pieces.
_PASTE_PAUSE_S = 0.05

HELP = """\
/help     show this list
/metrics  show the figures of the last turn and of the client
/quit     exit, as Ctrl-D does
Ctrl-C interrupts the answer; a second one exits. Pasted paragraphs are one turn.\
"""


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """The command's options."""

    prompt: str | None
    model: str
    instructions: str | None
    base_url: str | None
    has_tools: bool = False


def run(question: Question, out: Console, err: Console) -> int:
    """Print one answer, or chat until the user exits. Return the exit code."""
    with LoopThread() as loop:
        session = Session(question, out, err)
        try:
            loop.run(session.open())
            if question.prompt is not None:
                loop.run(session.ask(question.prompt))
                return 0
            return _Talk(session, loop, out, err).run()
        finally:
            loop.run(session.close())


class Session:
    """The client, its conversation and, without an endpoint, the emulator. Runs in the loop's thread."""

    def __init__(self, question: Question, out: Console, err: Console) -> None:
        self._question = question
        self._out = out
        self._err = err
        self._stack = AsyncExitStack()
        self._client: Client
        self._chat: Conversation
        self._turns: list[TurnMetrics] = []

    async def open(self) -> None:
        """Create the client and the conversation.

        Raises:
            ConfigurationError: the API key is missing, or the base URL is invalid.
        """
        self._client = await self._stack.enter_async_context(await self._made())
        self._chat = self._client.conversation(
            model=self._question.model,
            instructions=self._question.instructions,
            tools=[current_time, calculate] if self._question.has_tools else None,
        )

    async def _made(self) -> Client:
        base_url = self._question.base_url or os.environ.get("OPENAI_BASE_URL")
        if base_url or os.environ.get("OPENAI_API_KEY"):
            client = Client(base_url=base_url)
            place = Endpoint.of(base_url or DEFAULT_BASE_URL).http_url.partition("?")[0]
            self._say(f"Using {self._question.model} at {place}.")
            return client
        emulator = Emulator(first_token_s=_FIRST_TOKEN_S, tokens_per_second=_TOKENS_PER_SECOND)
        await self._stack.enter_async_context(emulator)
        self._say("OPENAI_API_KEY is not set: the embedded emulator answers instead of a model.")
        return Client(base_url=emulator.base_url, api_key=emulator.api_key, lanes=True)

    async def ask(self, text: str) -> None:
        """Run one turn, with its tool calls, and print its text as it arrives. Cancelling interrupts it.

        Raises:
            TurnError: a turn ended without a response.
            MaxTurnsExceeded: the model does not stop calling tools.
        """
        patience = asyncio.get_running_loop().call_later(
            _PATIENCE_S, self._say, "(waiting for the first token; Ctrl-C interrupts)"
        )
        run = self._chat.run(text)
        try:
            async with run:
                async for event in run:
                    if isinstance(event, OutputTextDelta | RefusalDelta):
                        patience.cancel()
                        self._out.out(printable(event.delta), end="", highlight=False)
                    elif isinstance(event, OutputItemDone) and event.item["type"] == "function_call":
                        patience.cancel()
                        self._say(f"(calls {event.item['name']} {event.item['arguments']})")
        finally:
            patience.cancel()
            self._turns = run.metrics
        self._out.out("")
        if run.response.status == "incomplete":
            reason = (run.response.incomplete_details or {}).get("reason", "no reason was given")
            self._say(f"The answer is incomplete: {reason}.")

    def say_first_token(self) -> None:
        """Print the time to the first token of the last turn."""
        self._say(f"({_first_token(self._turns)})")

    def say_metrics(self) -> None:
        """Print the figures of each response of the last turn, and of the client."""
        if not self._turns:
            self._say("No turn has been sent.")
        for metrics in self._turns:
            self._say(_shown(metrics))
        self._say(_shown_client(self._client.metrics))

    async def close(self) -> None:
        """Close the client and the emulator."""
        await self._stack.aclose()

    def _say(self, note: str) -> None:
        self._err.out(printable(note), style="dim", highlight=False)


def _first_token(turns: list[TurnMetrics]) -> str:
    """Time from sending the text to the first token of the answer; tool calls before it are included."""
    waited_s = 0.0
    for metrics in turns:
        if metrics.ttft_s is not None:
            return f"first token after {(waited_s + metrics.ttft_s) * 1000:.0f} ms"
        waited_s += metrics.total_s or 0.0
    return "no text"


def _shown(metrics: TurnMetrics) -> str:
    times = {"first token": metrics.ttft_s, "total": metrics.total_s}
    facts = [
        metrics.outcome or "running",
        *(f"{name} {seconds * 1000:.0f} ms" for name, seconds in times.items() if seconds is not None),
        f"{metrics.transport} {metrics.lane or ''}".rstrip(),
        f"{metrics.mode}, {metrics.bytes_sent:,} bytes sent instead of {metrics.full_bytes:,}",
        f"{metrics.attempts} attempt{'' if metrics.attempts == 1 else 's'}",
    ]
    if metrics.input_tokens is not None:
        cached = metrics.cached_tokens or 0
        facts.append(f"{metrics.input_tokens:,} input tokens ({cached:,} cached)")
    if metrics.output_tokens is not None:
        facts.append(f"{metrics.output_tokens:,} output tokens")
    return f"turn:   {'; '.join(facts)}"


def _shown_client(metrics: PoolMetrics) -> str:
    counts = {
        "turns": metrics.turns,
        "deltas": metrics.deltas,
        "in full": metrics.fulls,
        "dials": metrics.dials,
        "recoveries": sum(metrics.recoveries.values()),
        "abandoned": metrics.abandoned,
    }
    return f"client: {'; '.join(f'{count:,} {name}' for name, count in counts.items())}"


class _Talk:
    """The prompt loop. Runs in the main thread, which receives Ctrl-C."""

    def __init__(self, session: Session, loop: LoopThread, out: Console, err: Console) -> None:
        self._session = session
        self._loop = loop
        self._out = out
        self._err = err
        self._is_keyboard = sys.stdin.isatty()
        self._prompt = "you> " if self._is_keyboard and sys.stdout.isatty() else ""
        self._is_answering = False
        self._was_interrupted = False
        self._typed_ahead: str | None = None
        self._commands = {"/help": self._help, "/metrics": session.say_metrics}
        if self._is_keyboard:
            _restore_control_c()
        if self._prompt:
            _edit_lines()

    def run(self) -> int:
        if self._prompt:
            self._err.out("/help shows the commands.", style="dim", highlight=False)
        while True:
            try:
                self._turn()
            except EOFError:
                return self._left()
            except KeyboardInterrupt:
                if self._was_interrupted and not self._is_answering:
                    return self._left()
                hint = "(interrupted)" if self._is_answering else "(Ctrl-C again exits)"
                self._err.out(f"\n{hint}", style="dim", highlight=False)
                self._was_interrupted, self._is_answering = True, False

    def _turn(self) -> None:
        text = self._read()
        if not text.strip():
            return
        self._was_interrupted = False
        if self._is_command(text):
            self._obey(text.strip())
            return
        self._is_answering = True
        try:
            self._loop.run(self._session.ask(text))
        except (TurnError, MaxTurnsExceeded) as error:
            if not self._is_keyboard:
                raise
            self._err.out(f"\ntrunkline: {error}", style="red", highlight=False)
        else:
            if self._is_keyboard:
                self._session.say_first_token()
        self._is_answering = False

    def _read(self) -> str:
        """Return the next line, or all lines of a paste."""
        line, self._typed_ahead = self._typed_ahead, None
        if line is None:
            line = input(self._prompt)
        lines = [line]
        while self._is_keyboard and not self._is_command(lines[0]) and _has_more_input():
            try:
                line = input("")
            except EOFError:
                break
            if self._is_command(line):
                self._typed_ahead = line
                break
            lines.append(line)
        return "\n".join(lines)

    def _is_command(self, text: str) -> bool:
        """Whether the text is one word that begins with a slash. In a pipe, every line is for the model."""
        words = text.split()
        return self._is_keyboard and len(words) == 1 and words[0].startswith("/") and "/" not in words[0][1:]

    def _obey(self, command: str) -> None:
        if command in ("/quit", "/exit"):
            raise EOFError
        if command in self._commands:
            self._commands[command]()
        else:
            self._err.out(
                f"{printable(command)} is not a command; /help shows them.", style="dim", highlight=False
            )

    def _help(self) -> None:
        self._err.out(HELP, style="dim", highlight=False)

    def _left(self) -> int:
        if self._prompt:
            self._out.out("")
        return 0


def _has_more_input() -> bool:
    """Whether further lines wait in the terminal.

    With bracketed paste, readline returns all lines of a paste at once; this is for terminals without it.
    """
    try:
        ready, _, _ = select.select([sys.stdin], [], [], _PASTE_PAUSE_S)
    except (OSError, ValueError):  # Windows selects sockets only
        return False
    return bool(ready)


def _restore_control_c() -> None:
    """Raise KeyboardInterrupt on Ctrl-C even if the parent process ignored SIGINT.

    Python keeps an inherited SIG_IGN. That is right for a background job; a user at the keyboard could then
    neither interrupt an answer nor leave.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _edit_lines() -> None:
    """Enable arrow keys, history and bracketed paste, if Python has readline."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("set enable-bracketed-paste on")
