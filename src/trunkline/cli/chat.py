"""``trunkline chat``: a conversation in the terminal."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console

from .._network.endpoint import Endpoint
from ..client import DEFAULT_BASE_URL, Client
from ..conversation import Conversation
from ..emulator import Emulator
from ..errors import TurnError
from ..events import OutputTextDelta, RefusalDelta
from .loop_thread import LoopThread
from .terminal import printable

DEFAULT_MODEL = "gpt-6-astra"
_FIRST_TOKEN_S = 0.15
_TOKENS_PER_SECOND = 30.0


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """The command's options."""

    prompt: str | None
    model: str
    instructions: str | None
    base_url: str | None


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
        self._chat: Conversation

    async def open(self) -> None:
        """Create the client and the conversation.

        Raises:
            ConfigurationError: the API key is missing, or the base URL is invalid.
        """
        client = await self._stack.enter_async_context(await self._client())
        self._chat = client.conversation(model=self._question.model, instructions=self._question.instructions)

    async def _client(self) -> Client:
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
        """Run one turn and print its text as it arrives. Cancelling interrupts the answer.

        Raises:
            TurnError: the turn ended without a response.
        """
        async with self._chat.send(text) as stream:
            async for event in stream:
                if isinstance(event, OutputTextDelta | RefusalDelta):
                    self._out.out(printable(event.delta), end="", highlight=False)
        self._out.out("")
        if stream.response.status == "incomplete":
            reason = (stream.response.incomplete_details or {}).get("reason", "no reason was given")
            self._say(f"The answer is incomplete: {reason}.")

    async def close(self) -> None:
        """Close the client and the emulator."""
        await self._stack.aclose()

    def _say(self, note: str) -> None:
        self._err.out(printable(note), style="dim", highlight=False)


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
        if self._is_keyboard:
            _restore_control_c()
        if self._prompt:
            _edit_lines()

    def run(self) -> int:
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
        line = input(self._prompt)
        if not line.strip():
            return
        self._was_interrupted, self._is_answering = False, True
        try:
            self._loop.run(self._session.ask(line))
        except TurnError as error:
            if not self._is_keyboard:
                raise
            self._err.out(f"\ntrunkline: {error}", style="red", highlight=False)
        self._is_answering = False

    def _left(self) -> int:
        if self._prompt:
            self._out.out("")
        return 0


def _restore_control_c() -> None:
    """Raise KeyboardInterrupt on Ctrl-C even if the parent process ignored SIGINT.

    Python keeps an inherited SIG_IGN. That is right for a background job; a user at the keyboard could then
    neither interrupt an answer nor leave.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _edit_lines() -> None:
    """Enable arrow keys and history, if Python has readline."""
    try:
        import readline  # noqa: F401 - importing it changes input()
    except ImportError:
        return
