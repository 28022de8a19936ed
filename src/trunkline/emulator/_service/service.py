"""The Responses API without sockets: turns requests into generations or refusals."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._models.behaviour import Behaviour
from .._models.context import Context, Item, common_tokens
from .._models.prompt import Prompt
from .._models.steps import Compact, Step
from .._protocol.errors import ApiError, response_not_found
from .._protocol.request import CreateRequest, check_compact, check_count, check_create
from .._protocol.tools import async_names
from ..quirks.quirks import Quirks
from .compaction import compacted_window, compaction_item, fitted, threshold
from .connection import Connection
from .conversations import Conversations
from .generation import Generation, model_error
from .ids import Ids
from .reasoning import ReasoningLedger
from .records import RequestRecord, ResponseRecord
from .resolving import resolved
from .resource import new_resource
from .store import Store
from .usage import cached_tokens, text_tokens, usage

EMPTY = Context()
_FINISHED = ("completed", "incomplete")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the service.

    Attributes:
        zdr: zero data retention: no response is stored, even with ``store=true``.
        shows_zdr: whether the ``store`` of responses is false under `zdr`, or repeats the request's.
        history: maximum number of records kept for tests; the oldest are dropped.
        stored: maximum number of stored responses; the oldest are dropped.
        context_window: maximum number of input tokens of a model.
        default_model: the deterministic model for unknown names.
        steers_cut_words: whether a steer ends a message at its next word; else the item is completed first.
        quirks: the deviations of other servers.
    """

    zdr: bool = False
    shows_zdr: bool = True
    history: int = 100_000
    stored: int = 100_000
    context_window: int = 1_000_000
    default_model: str | None = None
    steers_cut_words: bool = True
    quirks: Quirks = field(default_factory=Quirks)


class Service:
    """State shared by all connections: the store, the models and the records."""

    def __init__(self, settings: Settings, *, wall_clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.ids: Ids = Ids()
        self.store: Store = Store(settings.stored)
        self.conversations: Conversations = Conversations(settings.stored, self.ids, wall_clock)
        self.behaviour: Behaviour = Behaviour(settings.default_model)
        self.responses: OrderedDict[str, ResponseRecord] = OrderedDict()
        self.requests: deque[RequestRecord] = deque(maxlen=settings.history)
        self.tokens_used: int = 0
        self._received = 0
        self._wall_clock = wall_clock
        self._reasoning = ReasoningLedger(settings.history)

    def create(
        self,
        body: dict[str, Any],
        seen: RequestRecord,
        connection: Connection | None = None,
        *,
        steered: Iterable[Item] = (),
        successor_of: ResponseRecord | None = None,
    ) -> Generation:
        """Start a response. `steered` are items placed before the request's own.

        A successor continues the response that was steered, also if others have its id or it is not stored.

        Raises:
            ApiError: the request is refused. If it continues the lane's latest response, that one is evicted.
        """
        try:
            return self._create(body, seen, connection, list(steered), successor_of)
        except ApiError as error:
            parent = body.get("previous_response_id")
            if connection is not None and isinstance(parent, str):
                connection.cache.evict(seen.lane, parent)
            self.refused(seen, error)
            raise

    def received(self, seen: RequestRecord) -> None:
        """Record a request."""
        self._received += 1
        seen.number = self._received
        seen.received_at = self._wall_clock()
        self.requests.append(seen)

    def refused(self, seen: RequestRecord, error: ApiError) -> None:
        """Record the refusal of a request."""
        seen.error = {"status": error.status, **error.body()}

    def stored(self, response_id: str) -> ResponseRecord:
        """Return a stored response.

        Raises:
            ApiError: no response with this id is stored.
        """
        record = self.store.get(response_id)
        if record is None:
            raise response_not_found(response_id)
        return record

    def abandon(self, generation: Generation) -> None:
        """Cancel a response unless it has ended, after the client has disconnected or cancelled it."""
        record = generation.record
        if generation.ended:
            return
        generation.ended = True
        record.status = "cancelled"
        record.resource = record.resource | {"status": "cancelled"}

    def compact(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of ``POST /v1/responses/compact``.

        Raises:
            ApiError: the request is refused.
        """
        request = check_compact(body)
        items = self._context(request, None)[1].items()
        output = compacted_window(self.ids, items)
        read = _overhead(request) + sum(map(text_tokens, map(str, items)))
        return {
            "id": self.ids.new("resp"),
            "object": "response.compaction",
            "created_at": int(self._wall_clock()),
            "output": output,
            "usage": usage(input_tokens=read, cached=0, output_tokens=len(output), reasoning_tokens=0),
        }

    def count_tokens(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of ``POST /v1/responses/input_tokens``.

        Raises:
            ApiError: the request is refused.
        """
        request = check_count(body)
        _, context = self._context(request, None)
        return {"object": "response.input_tokens", "input_tokens": _overhead(request) + context.tokens}

    def _create(
        self,
        body: dict[str, Any],
        seen: RequestRecord,
        connection: Connection | None,
        steered: list[Item],
        successor_of: ResponseRecord | None,
    ) -> Generation:
        request = check_create(body, transport=seen.transport)
        self.settings.quirks.check_create(request)
        self._check_model(request.model)
        items, context = self._context(request, connection, steered, successor_of)
        reading = self._reasoning.read(request, seen.organization, context)
        context = reading.context
        steps = self._steps(request, context, items)
        record = self._record(request, seen, items, context, self._wire_id(connection))
        if reading.removed is not None:
            record.resource["input_transformations"] = reading.removed
        cached = self._cached(request, context, connection, seen.lane)
        if connection is not None:
            connection.cache.advance(seen.lane)
        if request.background:
            self.store.put(record)

        def finish(generation: Generation) -> None:
            self._reasoning.remember(record.output, reading)
            self._finish(generation, request, cached, connection)

        return Generation(
            record,
            steps,
            ids=self.ids,
            finish=finish,
            max_output_tokens=body.get("max_output_tokens"),
            encrypted_reasoning="reasoning.encrypted_content" in request.include,
            steers_cut_words=self.settings.steers_cut_words,
        )

    def _context(
        self,
        request: CreateRequest,
        connection: Connection | None,
        steered: Sequence[Item] = (),
        successor_of: ResponseRecord | None = None,
    ) -> tuple[list[Item], Context]:
        """Return the request's resolved items and the whole context."""
        before = self._before(request, connection) if successor_of is None else successor_of.after
        given = [resolved(item, f"input[{index}]", self.store) for index, item in enumerate(request.input)]
        items = [*steered, *given]
        context = before.extended(items)
        if context.open_calls:
            context.require_answers(async_names([*request.tools, *context.added_tools]))
        budget = self.settings.context_window - _overhead(request)
        return items, fitted(context, budget=budget, truncation=request.body.get("truncation", "disabled"))

    def _before(self, request: CreateRequest, connection: Connection | None) -> Context:
        """The context before the request's own items: of its conversation or of its parent."""
        if request.conversation_id is not None:
            return self.conversations.continued(request.conversation_id).context
        quirks = self.settings.quirks
        parent_id = quirks.parent_id(request)
        if parent_id is None:
            return EMPTY
        record = connection.cache.find(parent_id) if connection and quirks.caches_parents else None
        record = record or self.store.get(parent_id)
        if record is None or record.status not in _FINISHED:
            raise quirks.parent_not_found(parent_id)
        return record.after

    def _check_model(self, name: str) -> None:
        if not self.settings.quirks.knows_model(self.behaviour.knows(name)):
            raise ApiError(f"Invalid model name passed in model={name}.")

    def _steps(self, request: CreateRequest, context: Context, items: list[Item]) -> Iterable[Step]:
        if not request.generate:
            return ()
        try:
            steps = self.behaviour.steps(_prompt(request, context, items))
        except ApiError:
            raise
        except Exception as error:  # of the function of a test
            raise model_error(request.model, error) from error
        limit = threshold(request)
        if limit is None or _overhead(request) + context.tokens < limit:
            return steps
        return [Compact(compaction_item(self.ids, context.items())), *steps]

    def _record(
        self,
        request: CreateRequest,
        seen: RequestRecord,
        items: list[Item],
        context: Context,
        wire_id: str | None,
    ) -> ResponseRecord:
        response_id = self.ids.new("resp")
        parent_id = self.settings.quirks.parent_id(request)
        store = request.store and not self.settings.zdr
        record = ResponseRecord(
            id=response_id,
            model=request.model,
            transport=seen.transport,
            connection_id=seen.connection_id,
            lane=seen.lane,
            previous_response_id=parent_id,
            generate=request.generate,
            store=store,
            input=items,
            instructions=request.instructions,
            tools=request.tools,
            request_bytes=seen.size_bytes,
            context=context,
            resource=new_resource(
                request,
                response_id=wire_id or response_id,
                created_at=int(self._wall_clock()),
                previous_response_id=parent_id,
                store=store if self.settings.shows_zdr else request.store,
            ),
            steerable=_is_steerable(request),
        )
        seen.response_id = response_id
        self.responses[response_id] = record
        if len(self.responses) > self.settings.history:
            self.responses.popitem(last=False)
        return record

    def _wire_id(self, connection: Connection | None) -> str | None:
        """The id that the client sees if it is not the response's own."""
        if connection is None or not self.settings.quirks.has_one_response_id:
            return None
        connection.response_id = connection.response_id or self.ids.new("resp")
        return connection.response_id

    def _cached(
        self, request: CreateRequest, context: Context, connection: Connection | None, lane: str | None
    ) -> int:
        """Number of tokens that this prompt and the lane's last prompt have in common, from the start."""
        if connection is None:
            return 0
        key = request.prefix_key
        last = connection.cache.prompts.get(lane)
        connection.cache.prompts[lane] = (key, context)
        if last is None or last[0] != key:
            return 0
        return cached_tokens(text_tokens(key) + common_tokens(last[1], context))

    def _finish(
        self, generation: Generation, request: CreateRequest, cached: int, connection: Connection | None
    ) -> None:
        record = generation.record
        record.status = "failed" if generation.error else "incomplete" if generation.cut else "completed"
        counted = usage(
            input_tokens=_overhead(request) + record.context.tokens,
            cached=cached,
            output_tokens=generation.output_tokens,
            reasoning_tokens=generation.reasoning_tokens,
        )
        self.tokens_used += counted["total_tokens"]
        record.resource = record.resource | {
            "status": record.status,
            "completed_at": int(self._wall_clock()) if record.status == "completed" else None,
            "error": generation.error,
            "incomplete_details": {"reason": generation.cut} if generation.cut else None,
            "output": record.output,
            "usage": None if generation.error else counted,
        }
        if record.status in _FINISHED:
            self._keep(record, request, connection)

    def _keep(self, record: ResponseRecord, request: CreateRequest, connection: Connection | None) -> None:
        if not (record.generate or self.settings.quirks.remembers_warm_ups):
            return
        if connection is not None:
            connection.cache.remember(record.lane, record)
        if record.store:
            self.store.put(record)
        if request.conversation_id is not None:
            conversation = self.conversations.continued(request.conversation_id)
            self.conversations.add(conversation, [*record.input, *record.output])


def _is_steerable(request: CreateRequest) -> bool:
    """Whether the settings of a request allow steering of its response."""
    return (
        request.conversation_id is None
        and threshold(request) is None
        and request.body.get("multi_agent") is None
    )


def _overhead(request: CreateRequest) -> int:
    return text_tokens(request.prompt_key)


def _prompt(request: CreateRequest, context: Context, items: list[Item]) -> Prompt:
    return Prompt(
        model=request.model,
        context=context,
        instructions=request.instructions,
        tools=[*request.tools, *context.added_tools],
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        text_format=context.text_format or request.text_format,
        end_user=request.end_user,
        input=items,
    )
