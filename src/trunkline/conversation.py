"""A conversation: its history, its settings, and its turns, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

from msgspec.structs import replace

from ._decisions.placement import Owner
from ._protocol.fields import ENCRYPTED_REASONING, Fields, check_calls, owed_calls
from ._protocol.history import History
from ._protocol.items import Item, ItemInput, TurnInput, items_of
from ._protocol.json import JSON
from ._protocol.response import Response
from ._turns.factory import TurnFactory
from ._turns.settings import check_turn
from ._turns.turn import Turn
from .arguments import check_count, check_function, check_kind, check_number
from .errors import ConfigurationError, UsageError
from .instructions import InstructionsPlacement
from .options import Deadlines, Policy
from .request_fields import TurnFields, with_extra
from .run import ConversationRun
from .saved import endpoint_of, saved_conversation
from .stream import EventHook, ResponseStream
from .text_format import TextFormat, with_format
from .tools import OnToolError, Toolbox, ToolThreads
from .tracebacks import discreet
from .transcript import Claim, Transcript

DEFAULT_MAX_TURNS = 10
DEFAULT_TOOL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Draft:
    """A checked request that was not sent.

    Attributes:
        fields: the fields of the request, without its input.
        items: the new items.
        history: the history that they follow.
        whole: the history and the new items: the input of the request.
        skipped: the number of items at the beginning of the history that the input does not have: the message
            with the instructions, if the request has others.
    """

    fields: Fields
    items: Sequence[Item]
    history: History
    whole: History
    skipped: int

    @classmethod
    def of(cls, fields: Fields, items: Sequence[Item], history: History, skipped: int = 0) -> _Draft:
        """The request with these new items after this history.

        Raises:
            ConfigurationError: a tool call has no output, or an output has no call.
        """
        known = History.of(history.items(skipped)) if skipped else history
        whole = known.extended(items)
        check_calls(whole, fields)
        return cls(fields, items, history, whole, skipped)

    def after(self, history: History) -> _Draft:
        """The same request after another history.

        Raises:
            ConfigurationError: as for `of`.
        """
        if self.history is history:
            return self
        return _Draft.of(self.fields, self.items, history, self.skipped)


class _Compaction:
    """A compaction that runs. It holds the transcript as a turn does.

    Attributes:
        is_ended: it has ended, or `heard` has changed the history.
    """

    def __init__(self) -> None:
        self.is_ended: bool = False

    def close(self) -> None:
        """Its result is not used."""
        self.is_ended = True


class Conversation:
    """A history and its turns. Made by ``Client.conversation``.

    One turn at a time runs in a conversation; `fork` it for parallel turns.
    """

    def __init__(
        self,
        turns: TurnFactory,
        fields: Fields,
        tools: Toolbox,
        history: History,
        owner: Owner | None = None,
        *,
        placement: InstructionsPlacement,
        lead: Item | None = None,
    ) -> None:
        self._turns = turns
        self._fields = _self_contained(fields)  # without the instructions, if the lead has them
        self._tools = tools
        self._placement = placement
        self._lead = lead
        self._transcript = Transcript(history, lead=0 if lead is None else 1)
        self._owner = owner or Owner()
        self._threads = ToolThreads()

    @property
    def items(self) -> list[JSON]:
        """The history as plain JSON: a copy. ``client.conversation(items=…)`` restores it."""
        return self._transcript.history.json(self._transcript.lead)

    def save(self) -> JSON:
        """The conversation as plain JSON, for ``client.conversation(saved=…)``, also in another process.

        The value has the settings, the history up to the last turn that ended, and the ids and output of the
        responses that the service stores. It holds the words of the conversation, so protect it as such. The
        next turn of the restored conversation is a delta if the service still has the response; else it is
        sent in full, also if responses are not stored.
        """
        turns = self._turns
        parents = self._owner.baselines if turns.transports.keeps_responses else ()
        return saved_conversation(
            endpoint_of(turns.endpoint.http_url),
            self._fields.overridden(self._instructions),
            self._transcript.history,
            parents,
            name=self._owner.name,
            lead=self._transcript.lead,
            placement=self._placement,
        )

    @discreet
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

        Nothing is sent before the stream is entered. The turn then begins with the history as it is at that
        moment. A stream that is never entered changes nothing.

        Args:
            input: a string (a user message), an item, or a list of items, tool outputs included.
            deadlines: the time limits of this turn, instead of the client's.
            policy: the bounds of retries of this turn, instead of the client's.
            text_format: a pydantic model, dataclass, msgspec struct or TypedDict; the output text is JSON of
                this type, and ``response.parsed`` is its value.
            extra_fields: request fields that `TurnFields` does not have, for this turn.
            fields: further request fields, for this turn instead of the conversation's.

        Raises:
            ConfigurationError: an argument is wrong; nothing was sent.
            ConversationBusy: a turn of this conversation is running. Entering the stream raises it too.
            WrongEventLoop: the client belongs to another event loop.
        """
        self._transcript.check_idle()
        form = TextFormat.of(text_format) if text_format is not None else None
        settled, _, skipped = self._settled(with_extra(fields, extra_fields), form)
        draft = _Draft.of(settled, items_of(input), self._transcript.history, skipped)
        turn = self._turn(draft, deadlines=deadlines, policy=policy)

        def begin(stream: ResponseStream) -> Claim:
            # The history may have changed since the draft was checked.
            whole = draft.after(self._transcript.history).whole
            claim = self._transcript.claim(stream)
            turn.request = replace(turn.request, asked=whole)
            return claim

        return ResponseStream(turn, text_format=form, transcript=self._transcript, begin=begin)

    @discreet
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
        """Send, execute the Python tools that the model calls and send their outputs, until it calls none.

        Await the run for the final response, or iterate it for each event of each response. To leave it
        early, iterate it in an ``async with`` block. It starts when it is awaited, entered or iterated.

        The calls of one response run concurrently. If a tool raises, times out, or gets arguments that do not
        fit its signature, the model gets an error as the result; the logger ``trunkline.tools`` gets the
        traceback. A response that calls a tool without a Python function ends the run: send the output with
        the next turn. A call of an async tool (``async: true``) without one may stay open: the run goes on,
        and its output may come with any later turn.

        Leaving the block early, or cancelling the task that awaits the run, is barge-in: the answer ends, and
        running calls are cancelled and reported to the model as cancelled.

        Args:
            input: as for `send`.
            max_turns: the number of responses above which `MaxTurnsExceeded` is raised.
            tool_timeout_s: the time limit of one call, in seconds, for tools without a limit of their own.
            on_tool_error: a function that returns the model's result for a failed call, for tools without an
                ``on_error``. By default the result names the type of the exception, without its message.
            on_event: called with each event, in order; see `ResponseStream.finish`.
            deadlines: as for `send`, for each turn.
            policy: as for `send`, for each turn.
            text_format: as for `send`, for each turn.
            extra_fields: as for `send`, for each turn.
            fields: as for `send`, for each turn.

        Raises:
            ConfigurationError: an argument is wrong; nothing was sent.
            ConversationBusy: a turn of this conversation is running. Starting the run raises it too.
        """
        check_turn(deadlines, policy)
        check_count(max_turns, "max_turns")
        check_number(tool_timeout_s, "tool_timeout_s", above=0)
        check_function(on_tool_error, "on_tool_error", "give a function of a ToolFailure", may_be_async=False)
        check_function(on_event, "on_event", "give a function that takes an event")
        self._transcript.check_idle()
        form = TextFormat.of(text_format) if text_format is not None else None
        settled, tools, skipped = self._settled(with_extra(fields, extra_fields), form)
        first: _Draft | None = _Draft.of(settled, items_of(input), self._transcript.history, skipped)

        def send(claim: Claim) -> ResponseStream:
            nonlocal first
            history = self._transcript.history  # after the first turn it ends with the outputs of calls
            draft = first.after(history) if first is not None else _Draft.of(settled, (), history, skipped)
            first = None
            turn = self._turn(draft, deadlines=deadlines, policy=policy)
            transcript = self._transcript
            return ResponseStream(turn, text_format=form, transcript=transcript, begin=lambda _: claim)

        return ConversationRun(
            self._transcript,
            send,
            tools,
            partial(tools.call, timeout_s=tool_timeout_s, on_error=on_tool_error, threads=self._threads),
            lambda: bool(owed_calls(self._transcript.history, settled)),
            max_turns=max_turns,
            on_event=on_event,
        )

    @discreet
    def heard(self, text: str) -> None:
        """Replace the assistant's text since the last user input by the part that the listener heard.

        May be called until the next turn begins, also after a completed turn and after `warm`, and again to
        correct the text. A turn that is running is closed first.

        ``text`` covers all responses since the last message that is not the assistant's, such as the
        responses of a run before and after its tool calls. If it is the beginning of their text (white space
        between two messages is not compared), each message keeps its part. Otherwise it replaces the last
        message, and the others are removed. Tool calls and their outputs stay. Reasoning stays if all text
        was heard; otherwise it stays only in responses with calls.

        Args:
            text: the text that was heard; empty for none.

        Raises:
            ConfigurationError: the text is not a string.
            UsageError: no turn has ended since the conversation was made or its history replaced.
        """
        check_kind(text, "text", str, "give the text that was heard, empty for nothing")
        self._transcript.heard(text)

    async def warm(self, *, deadlines: Deadlines | None = None) -> Response:
        """Prepare the service for the next turn (``generate: false``).

        Instructions, tools and history are sent, and no answer is generated. The service bills the input
        tokens. `heard` can still change the last answer. Cancelling ends the wait only.

        Args:
            deadlines: the time limits of the warm-up, instead of the client's.

        Returns:
            the response, which has no output.

        Raises:
            ConversationBusy: a turn of this conversation is running.
            TurnError: the warm-up failed.
        """
        self._transcript.check_idle()
        draft = _Draft.of(self._fields, (), self._transcript.history)
        turn = self._turn(draft, generate=False, deadlines=deadlines)
        transcript = self._transcript

        def begin(stream: ResponseStream) -> Claim:
            return transcript.claim(stream, warms_up=True)

        async with ResponseStream(turn, transcript=transcript, begin=begin) as stream:
            return await stream.finish()

    async def compact(self, *, deadlines: Deadlines | None = None) -> JSON:
        """Replace the history by a shorter one that the service makes of it (``POST /responses/compact``).

        The new history has the user messages and one item with the compacted rest, encrypted. The next turn
        sends all of it, after the instructions, which are not compacted; later turns are deltas again. If
        the compaction fails or is cancelled, the history is unchanged. The service bills the tokens.

        To let the service compact by itself when the context has reached a size, give the field
        ``context_management`` instead.

        Args:
            deadlines: the time limits, instead of the client's. ``first_output`` limits each attempt.

        Returns:
            the service's answer: its id, output and usage, as plain JSON.

        Raises:
            ConfigurationError: a tool call has no output, or a part of the context is not in the history.
            ConversationBusy: a turn of this conversation is running.
            UsageError: the history is empty, or `heard` changed it meanwhile.
            TurnError: the compaction failed, such as on a server that does not offer it.
        """
        self._transcript.check_idle()
        history = self._transcript.history
        lead = self._transcript.lead
        if len(history) == lead:
            raise UsageError("compact() needs a history, and this one is empty: call it after a turn")
        if self._fields.brings_context:
            raise ConfigurationError(
                "compact() needs the whole context, and a part of it is the service's, because "
                "previous_response_id, conversation or prompt was given; use context_management",
                argument="context_management",
            )
        check_calls(history, self._fields)
        compaction = _Compaction()
        self._transcript.claim(compaction)
        try:
            own = History.of(history.items(lead)) if lead else history
            answer, window = await self._turns.compact(self._fields, own, deadlines=deadlines)
            if compaction.is_ended:
                raise UsageError("heard() changed the history during compact(); call compact() again")
            self._transcript.replace(History.of([*history.items(0, lead), *window]))
            self._owner.baselines.clear()  # a new beginning, also if it starts like the old one
        finally:
            compaction.close()
        return answer

    def fork(self) -> Conversation:
        """A conversation with the same history and settings. Both can run at the same time."""
        owner = Owner(self._owner.baselines.copy())
        return Conversation(
            self._turns,
            self._fields,
            self._tools,
            self._transcript.history,
            owner,
            placement=self._placement,
            lead=self._lead,
        )

    @discreet
    def replace(self, items: Sequence[ItemInput]) -> None:
        """Replace the history.

        The next turn sends only the items after the beginning that the old and new history share, if the
        service still has that beginning.

        Args:
            items: the new history.

        Raises:
            ConfigurationError: one of them is not an item.
            ConversationBusy: a turn of this conversation is running.
        """
        self._transcript.check_idle()
        transcript = self._transcript
        transcript.replace(transcript.history.following(items, "items", lead=transcript.lead))

    @property
    def _instructions(self) -> dict[str, Any]:
        """The field with the instructions of the lead; empty without a lead."""
        return {"instructions": self._lead.json()["content"]} if self._lead is not None else {}

    def _turn(
        self,
        draft: _Draft,
        *,
        generate: bool = True,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
    ) -> Turn:
        return self._turns.turn(
            draft.fields,
            draft.whole,
            self._owner,
            generate=generate,
            lead=self._transcript.lead - draft.skipped,
            deadlines=deadlines,
            policy=policy,
        )

    def _settled(self, overrides: dict[str, Any], form: TextFormat | None) -> tuple[Fields, Toolbox, int]:
        """The fields and tools of a turn: those of the conversation, some of them overridden.

        The third value is the number of items at the beginning of the history that the turn leaves out. A
        turn with instructions or a context of its own has the instructions in their field, because a message
        would stand beside them, or in the middle of the context.
        """
        tools = self._tools
        overrides = with_format(overrides, self._fields.get("text"), form)
        if overrides.get("tools") is not None:
            tools = Toolbox.of(overrides["tools"])
            overrides = {**overrides, "tools": tools.definitions}
        fields = self._fields.overridden(overrides)
        skipped = 0
        if self._lead is not None and ("instructions" in overrides or fields.brings_context):
            fields = self._fields.overridden(self._instructions | overrides)
            skipped = 1
        return _self_contained(fields), tools, skipped

    def __repr__(self) -> str:
        length = len(self._transcript.history) - self._transcript.lead
        return f"<Conversation {self._fields.model}: {length} items>"


def _self_contained(fields: Fields) -> Fields:
    """The fields, which ask for encrypted reasoning if the service does not store the response."""
    return fields.including(ENCRYPTED_REASONING) if fields.store is False else fields


__all__ = ["Conversation"]
