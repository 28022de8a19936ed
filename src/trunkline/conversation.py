"""A conversation: its history, its settings, and its turns, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Unpack

from ._decisions.placement import Owner
from ._protocol.fields import ENCRYPTED_REASONING, Fields, check_calls
from ._protocol.history import History
from ._protocol.items import Item, ItemInput, TurnInput, items_of
from ._protocol.json import JSON
from ._protocol.response import Response
from ._turns.turn import Turn, check_turn
from .arguments import check_count, check_function, check_kind, check_number
from .options import Deadlines, Policy
from .request_fields import TurnFields, with_extra
from .run import ConversationRun
from .stream import EventHook, ResponseStream
from .text_format import TextFormat, with_format
from .tools import OnToolError, Tool, Toolbox, ToolThreads
from .transcript import Transcript

DEFAULT_MAX_TURNS = 10
DEFAULT_TOOL_TIMEOUT_S = 30.0


class Asks(Protocol):
    """What makes a turn of a question: the client."""

    def __call__(
        self,
        fields: Fields,
        asked: History,
        owner: Owner | None,
        *,
        generate: bool = True,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
    ) -> Turn:
        """A turn that has not started."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A request that has been checked and not been sent.

    Attributes:
        fields: everything but the items.
        items: the input.
        history: the history it was checked with.
        asked: that history and the input.
    """

    fields: Fields
    items: Sequence[Item]
    history: History
    asked: History

    @classmethod
    def of(cls, fields: Fields, history: History, items: Sequence[Item]) -> _Draft:
        """The request of this input after this history.

        Raises:
            ConfigurationError: a tool call has no output, or an output no call.
        """
        asked = history.extended(items)
        check_calls(asked, fields)
        return cls(fields, items, history, asked)

    def after(self, history: History) -> _Draft:
        """The same request after another history.

        Raises:
            ConfigurationError: as `of`.
        """
        return self if self.history is history else _Draft.of(self.fields, history, self.items)


class Conversation:
    """A history and its turns. Made by ``Client.conversation``."""

    def __init__(
        self, ask: Asks, fields: Fields, tools: Toolbox, history: History, owner: Owner | None = None
    ) -> None:
        self._ask = ask
        self._fields = fields.including(ENCRYPTED_REASONING) if fields.store is False else fields
        self._tools = tools
        self._transcript = Transcript(history)
        self._owner = owner or Owner()
        self._threads = ToolThreads()

    @property
    def items(self) -> list[JSON]:
        """The history as plain JSON: a copy, to keep and to restore with ``client.conversation(items=…)``."""
        return self._transcript.history.json()

    def send(
        self,
        input: TurnInput,  # noqa: A002 - the name of the Responses API
        *,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
        text_format: type | None = None,
        extra_fields: Mapping[str, Any] | None = None,
        **fields: Unpack[TurnFields],
    ) -> ResponseStream:
        """One turn: the history so far and this input.

        The turn begins when the stream is entered, with the history as it is then. A stream that is never
        entered changes nothing.

        Args:
            input: a string (a user message), an item, or a list of items, tool outputs among them.
            deadlines: how long this turn waits, instead of the client's.
            policy: how often this turn is retried, instead of the client's.
            text_format: a pydantic model, dataclass, msgspec struct or TypedDict; the output text is JSON of
                this type, and ``response.parsed`` is its value.
            extra_fields: fields that `TurnFields` does not know, for this turn.
            fields: fields of the Responses API, for this turn instead of the conversation's.

        Raises:
            ConfigurationError: an argument is wrong; nothing was sent.
            ConversationBusy: a turn of this conversation is running; also when the stream is entered.
        """
        self._transcript.check_idle()
        form = TextFormat.of(text_format) if text_format is not None else None
        overrides = with_extra(fields, extra_fields)
        draft = self._draft(items_of(input), self._fields_with(overrides, form))

        def begin(stream: ResponseStream, turn: Turn) -> None:
            asked = draft.after(self._transcript.history).asked
            self._transcript.claim(stream)
            turn.request = replace(turn.request, asked=asked)

        return self._stream(draft, deadlines, policy, form, begin)

    def run(
        self,
        input: TurnInput,  # noqa: A002 - the name of the Responses API
        *,
        max_turns: int = DEFAULT_MAX_TURNS,
        tool_timeout_s: float = DEFAULT_TOOL_TIMEOUT_S,
        on_tool_error: OnToolError | None = None,
        on_event: EventHook | None = None,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
        text_format: type | None = None,
        extra_fields: Mapping[str, Any] | None = None,
        **fields: Unpack[TurnFields],
    ) -> ConversationRun:
        """Send, execute the Python tools that the model calls, and send their outputs, until it is done.

        Await the run for the final response, or iterate it for each event of each response; to leave it
        early, iterate it in an ``async with`` block. It starts when it is awaited, entered or iterated.

        The calls of one response run together. A tool that raises, takes too long or gets arguments that do
        not fit is reported to the model as an error; its traceback goes to the logger ``trunkline.tools``.
        Calls of tools that are no Python functions end the run: answer them with the next ``send``.

        Leaving the block early, or cancelling the task that awaits the run, is barge-in: the answer is left,
        and calls that had begun are cancelled and reported so.

        Args:
            input: as for `send`.
            max_turns: the highest number of responses.
            tool_timeout_s: how long one call may take, in seconds, unless the tool has a time of its own.
            on_tool_error: returns what the model gets when a call fails, unless the tool has an ``on_error``
                of its own; by default the model gets the type of the exception and not its message.
            on_event: called with each event, in order; awaited if it returns an awaitable. See
                `ResponseStream.finish`.
            deadlines: as for `send`, for each turn.
            policy: as for `send`, for each turn.
            text_format: as for `send`, for each turn.
            extra_fields: as for `send`, for each turn.
            fields: as for `send`, for each turn.

        Raises:
            ConfigurationError: an argument is wrong; nothing was sent.
            ConversationBusy: a turn of this conversation is running; also when the run starts.
        """
        check_turn(deadlines, policy)
        check_count(max_turns, "max_turns")
        check_number(tool_timeout_s, "tool_timeout_s", above=0)
        check_function(on_tool_error, "on_tool_error", "give a function of a ToolFailure", may_be_async=False)
        check_function(on_event, "on_event", "give a function that takes an event")
        self._transcript.check_idle()
        form = TextFormat.of(text_format) if text_format is not None else None
        overrides = with_extra(fields, extra_fields)
        tools, settled = self._tools_with(overrides), self._fields_with(overrides, form)
        draft: _Draft | None = self._draft(items_of(input), settled)

        def send() -> ResponseStream:
            nonlocal draft
            first, draft = draft, None
            following = first or self._draft((), settled)
            return self._stream(following.after(self._transcript.history), deadlines, policy, form)

        return ConversationRun(
            self._transcript,
            send,
            tools,
            partial(tools.call, timeout_s=tool_timeout_s, on_error=on_tool_error, threads=self._threads),
            max_turns=max_turns,
            on_event=on_event,
        )

    def heard(self, text: str) -> None:
        """Replace what the assistant said since the last user input by what the listener heard.

        Speech is slower than text, and a listener who interrupts has heard less than was received. The text
        may be given until the next turn begins, also when the turn had completed, and after `warm`; giving it
        again replaces it again. A turn that is still running is left first.

        ``text`` covers all responses since the last message that is not the assistant's, such as those of a
        run before and after its tool calls. Where it is the beginning of their text, white space between two
        messages aside, each message keeps what was heard of it; otherwise ``text`` takes the place of the
        last message and the others are removed. An empty text removes all. Tool calls and their outputs
        stay. Reasoning stays where calls came of it, or where everything was heard.

        Raises:
            ConfigurationError: the text is not a string.
            UsageError: no turn has ended since the conversation was made or its history replaced.
        """
        check_kind(text, "text", str, "give the text that was heard, empty for nothing")
        self._transcript.heard(text)

    async def warm(self, *, deadlines: Deadlines | None = None) -> Response:
        """Let the service prepare instructions, tools and history (``generate: false``), without an answer.

        The service bills these input tokens as any others. The last answer stays open to `heard`.
        """
        self._transcript.check_idle()
        draft = self._draft((), self._fields)
        turn = self._ask(draft.fields, draft.asked, self._owner, generate=False, deadlines=deadlines)
        stream = ResponseStream(turn)
        self._transcript.claim(stream, warms_up=True)
        async with stream:
            return await stream.finish()

    def fork(self) -> Conversation:
        """A conversation that goes on from here by itself; both may run at the same time."""
        owner = Owner(self._owner.baselines.copy())
        return Conversation(self._ask, self._fields, self._tools, self._transcript.history, owner)

    def replace(self, items: Sequence[ItemInput]) -> None:
        """Put these items in place of the history.

        What still equals the beginning of what the service remembers is not sent again.

        Raises:
            ConfigurationError: something given is no item.
            ConversationBusy: a turn of this conversation is running.
        """
        self._transcript.check_idle()
        self._transcript.replace(self._transcript.history.following(items, "items"))

    def _draft(self, items: Sequence[Item], fields: Fields) -> _Draft:
        return _Draft.of(fields, self._transcript.history, items)

    def _stream(
        self,
        draft: _Draft,
        deadlines: Deadlines | None,
        policy: Policy | None,
        form: TextFormat | None,
        begin: Callable[[ResponseStream, Turn], None] | None = None,
    ) -> ResponseStream:
        turn = self._ask(draft.fields, draft.asked, self._owner, deadlines=deadlines, policy=policy)
        return ResponseStream(turn, begin, self._transcript.end, self._transcript.heard_of, form)

    def _tools_with(self, overrides: dict[str, Any]) -> Toolbox:
        return self._tools if overrides.get("tools") is None else Toolbox.of(overrides["tools"])

    def _fields_with(self, overrides: dict[str, Any], form: TextFormat | None) -> Fields:
        overrides = with_format(overrides, self._fields.get("text"), form)
        if overrides.get("tools") is not None:
            overrides = {**overrides, "tools": Toolbox.of(overrides["tools"]).definitions}
        fields = self._fields.overridden(overrides)
        return fields.including(ENCRYPTED_REASONING) if fields.store is False else fields

    def __repr__(self) -> str:
        return f"<Conversation {self._fields.model}: {len(self._transcript.history)} items>"


__all__ = ["Conversation", "Tool"]
