"""The service without its sockets: requests in, generations and refusals out."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .connection import Connection
from .context import Context, Item, common_tokens
from .errors import ApiError, item_not_found, previous_response_not_found, response_not_found
from .generation import Generation, unseal
from .ids import Ids
from .items import type_of
from .models import script
from .prompt import Prompt
from .records import RequestRecord, ResponseRecord
from .request import CreateRequest, check_create
from .resource import new_resource
from .store import Store
from .usage import cached_tokens, text_tokens, usage

EMPTY = Context()
_FINISHED = ("completed", "incomplete")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service behaves.

    Attributes:
        zdr: zero data retention: nothing is stored, whatever a request asks for.
        history: how many records are kept for tests to read; the oldest go first.
        stored: how many responses the store keeps; the oldest go first.
    """

    zdr: bool = False
    history: int = 100_000
    stored: int = 100_000


class Service:
    """What all connections share: the store, the models, and the records."""

    def __init__(self, settings: Settings, *, wall_clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.ids = Ids()
        self.store = Store(settings.stored)
        self.responses: OrderedDict[str, ResponseRecord] = OrderedDict()
        self.requests: deque[RequestRecord] = deque(maxlen=settings.history)
        self._wall_clock = wall_clock

    def create(
        self, body: dict[str, Any], seen: RequestRecord, connection: Connection | None = None
    ) -> Generation:
        """Start a response.

        Raises:
            ApiError: the request is refused. A parent that it named on its own lane is evicted then.
        """
        try:
            return self._create(body, seen, connection)
        except ApiError as error:
            parent = body.get("previous_response_id")
            if connection is not None and isinstance(parent, str):
                connection.cache.evict(seen.lane, parent)
            self.refused(seen, error)
            raise

    def refused(self, seen: RequestRecord, error: ApiError) -> None:
        """Note that a request was refused."""
        seen.error = {"status": error.status, **error.body()}

    def stored(self, response_id: str) -> ResponseRecord:
        """A stored response.

        Raises:
            ApiError: there is none with this id.
        """
        record = self.store.get(response_id)
        if record is None:
            raise response_not_found(response_id)
        return record

    def abandon(self, generation: Generation) -> None:
        """The client is gone before the response ended."""
        if not generation.ended:
            generation.record.status = "cancelled"

    def _create(self, body: dict[str, Any], seen: RequestRecord, connection: Connection | None) -> Generation:
        request = check_create(body, transport=seen.transport)
        parent = self._parent(request, connection)
        items = [self._resolved(item, f"input[{index}]") for index, item in enumerate(request.input)]
        context = (parent.context.extended(parent.output) if parent else EMPTY).extended(items)
        context.require_answers()
        steps = script(_prompt(request, context)) if request.generate else ()
        record = self._record(request, seen, items, context)
        self._remember(record)
        seen.response_id = record.id
        cached = self._cached(request, context, connection, seen.lane)
        if connection is not None:
            connection.cache.advance(seen.lane)

        def finish(generation: Generation) -> None:
            self._finish(generation, request, cached, connection)

        return Generation(
            record,
            steps,
            ids=self.ids,
            finish=finish,
            max_output_tokens=body.get("max_output_tokens"),
            encrypted_reasoning="reasoning.encrypted_content" in request.include,
        )

    def _parent(self, request: CreateRequest, connection: Connection | None) -> ResponseRecord | None:
        if request.conversation_id is not None:
            return self.store.conversations.get(request.conversation_id)
        parent_id = request.previous_response_id
        if parent_id is None:
            return None
        record = connection.cache.find(parent_id) if connection else None
        record = record or self.store.get(parent_id)
        if record is None:
            raise previous_response_not_found(parent_id)
        return record

    def _resolved(self, item: Item, path: str) -> Item:
        """An input item as the model sees it: references are looked up, ids of unstored items refused."""
        name = type_of(item)
        item_id = item.get("id")
        if name == "item_reference":
            found = self.store.item(item["id"])
            if found is None:
                raise item_not_found(item["id"])
            return found
        sealed = item.get("encrypted_content")
        if name in ("reasoning", "compaction") and sealed:
            if unseal(sealed) is None:
                raise ApiError(
                    f"The encrypted content for item {item_id} could not be verified.",
                    code="invalid_encrypted_content",
                    param=path,
                )
            return item
        made_here = name in _MADE_BY_MODELS or item.get("role") == "assistant"
        if made_here and item_id is not None and self.store.item(item_id) is None:
            raise item_not_found(item_id)
        if name == "reasoning" and item_id is None:
            raise ApiError(
                f"Missing required parameter: '{path}.id'.",
                code="missing_required_parameter",
                param=f"{path}.id",
            )
        return item

    def _record(
        self, request: CreateRequest, seen: RequestRecord, items: list[Item], context: Context
    ) -> ResponseRecord:
        response_id = self.ids.new("resp")
        store = request.store and not self.settings.zdr
        return ResponseRecord(
            id=response_id,
            model=request.model,
            transport=seen.transport,
            connection_id=seen.connection_id,
            lane=seen.lane,
            previous_response_id=request.previous_response_id,
            generate=request.generate,
            store=store,
            input=items,
            instructions=request.instructions,
            tools=request.tools,
            request_bytes=seen.size_bytes,
            context=context,
            resource=new_resource(
                request,
                response_id=response_id,
                created_at=int(self._wall_clock()),
                previous_response_id=request.previous_response_id,
                store=store,
            ),
        )

    def _remember(self, record: ResponseRecord) -> None:
        self.responses[record.id] = record
        if len(self.responses) > self.settings.history:
            self.responses.popitem(last=False)

    def _cached(
        self, request: CreateRequest, context: Context, connection: Connection | None, lane: str | None
    ) -> int:
        """Tokens of this prompt that the lane's last prompt begins with, too."""
        if connection is None:
            return 0
        key = request.prompt_key
        last = connection.cache.prompts.get(lane)
        connection.cache.prompts[lane] = (key, context)
        if last is None or last[0] != key:
            return 0
        return cached_tokens(_overhead(request) + common_tokens(last[1], context))

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
        record.resource = record.resource | {
            "status": record.status,
            "completed_at": int(self._wall_clock()) if record.status == "completed" else None,
            "error": generation.error,
            "incomplete_details": {"reason": generation.cut} if generation.cut else None,
            "output": record.output,
            "usage": None if generation.error else counted,
        }
        if record.status not in _FINISHED:
            return
        if connection is not None:
            connection.cache.remember(record.lane, record)
        if record.store:
            self.store.put(record)
        if request.conversation_id is not None:
            self.store.conversations[request.conversation_id] = record


_MADE_BY_MODELS = frozenset(("function_call", "custom_tool_call", "reasoning", "compaction"))


def _overhead(request: CreateRequest) -> int:
    return text_tokens(request.prompt_key)


def _prompt(request: CreateRequest, context: Context) -> Prompt:
    return Prompt(
        model=request.model,
        context=context,
        instructions=request.instructions,
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        text_format=request.text_format,
    )
