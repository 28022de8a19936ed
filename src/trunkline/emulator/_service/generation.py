"""Generation of the events and output items of one response from a model's steps."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._models.steps import Call, Compact, Fail, Hosted, Reason, Refuse, Say, Step
from .._protocol.errors import ApiError
from .._protocol.events import Event, EventWriter
from .hosted import SHAPES
from .ids import Ids
from .moves import Move, Pause
from .records import ResponseRecord

_logger = logging.getLogger("trunkline.emulator")
_CHUNK = re.compile(r".{1,12}", re.DOTALL)
_SEAL = "sealed:"


def seal(text: str) -> str:
    """Encode content that only the server reads; a stand-in for encryption."""
    return base64.urlsafe_b64encode(f"{_SEAL}{text}".encode()).decode()


def unseal(content: str) -> str | None:
    """Return the content given to `seal`, or None if `seal` did not create this."""
    try:
        text = base64.urlsafe_b64decode(content.encode()).decode()
    except ValueError:
        return None
    return text.removeprefix(_SEAL) if text.startswith(_SEAL) else None


def model_error(model: str, error: Exception) -> ApiError:
    """Log an exception of a model, and return the error that the client gets."""
    _logger.error("the model %s raised an exception", model, exc_info=error)
    return ApiError(
        f"The model raised {type(error).__name__}.", status=500, code="server_error", type="server_error"
    )


class Generation:
    """One running response.

    Iterating `moves` extends `record.output`. `stop_for_steering` ends it early, at a safe boundary.
    """

    def __init__(
        self,
        record: ResponseRecord,
        script: Iterable[Step],
        *,
        ids: Ids,
        finish: Callable[[Generation], None],
        max_output_tokens: int | None = None,
        encrypted_reasoning: bool = False,
        steers_cut_words: bool = True,
    ) -> None:
        self.record = record
        self.output_tokens: int = 0
        self.reasoning_tokens: int = 0
        self.cut: str | None = None
        """Why the response is incomplete: ``max_output_tokens`` or ``steered``."""
        self.error: dict[str, Any] | None = None
        self.ended: bool = False
        self.owes_output: bool = False
        """Whether the response has called tools that the client runs."""
        self._script = script
        self._ids = ids
        self._finish = finish
        self._limit = max_output_tokens or float("inf")
        self._encrypted = encrypted_reasoning
        self._steered = False
        self._steers_cut_words = steers_cut_words
        self.writer: EventWriter = EventWriter(record.lane)

    def stop_for_steering(self) -> None:
        """Request an early end, at the next word or item. Ignored after a tool call."""
        self._steered = True

    def moves(self) -> Iterator[Move]:
        """Yield the events of the response and the pauses between. It is stored before the last event."""
        resource = self.record.resource
        yield self.writer.event("response.created", response=resource)
        if resource["background"]:
            yield self.writer.event("response.queued", response=resource | {"status": "queued"})
        yield self.writer.event("response.in_progress", response=resource)
        if self.record.generate:
            yield Pause.FIRST_OUTPUT
        try:
            for step in self._script:
                if self._must_stop():
                    break
                yield from self._step(step)
                if self.cut or self.error:
                    break
        except Exception as error:  # of the function of a test
            failure = model_error(self.record.model, error)
            self.error = {"code": failure.code, "message": failure.message}
        self.ended = True
        self._finish(self)
        yield self.writer.event(f"response.{self.record.status}", response=self.record.resource)

    def _step(self, step: Step) -> Iterator[Move]:
        if isinstance(step, Say):
            return self._message(step.deltas, _TEXT, step.phase)
        if isinstance(step, Refuse):
            return self._message(step.deltas, _REFUSAL, None)
        if isinstance(step, Reason):
            return self._reasoning(step.deltas)
        if isinstance(step, Call):
            return self._custom_call(step) if step.custom else self._function_call(step)
        if isinstance(step, Hosted):
            return self._hosted(step)
        return self._compaction(step) if isinstance(step, Compact) else self._failure(step)

    def _must_stop(self, *, inside_item: bool = False) -> bool:
        if self.output_tokens >= self._limit:
            self.cut = "max_output_tokens"
        elif self._steered and not self.owes_output and (self._steers_cut_words or not inside_item):
            self.cut = "steered"
        return self.cut is not None

    def _spoken(self, deltas: Iterable[str], make: Callable[[str], Event], said: list[str]) -> Iterator[Move]:
        for delta in deltas:
            yield Pause.TOKEN
            # Checked for each word: a steer may have arrived since the last one.
            if (self._steered or self.output_tokens >= self._limit) and self._must_stop(inside_item=True):
                return
            self.output_tokens += 1
            said.append(delta)
            yield make(delta)

    def _message(self, deltas: Iterable[str], shape: _Shape, phase: str | None) -> Iterator[Move]:
        item = self._open("msg", type="message", status="in_progress", content=[], role="assistant")
        if phase:
            item["phase"] = phase
        place = {"item_id": item["id"], "output_index": len(self.record.output)}
        spot = place | {"content_index": 0}
        event = self.writer.event
        yield event("response.output_item.added", output_index=place["output_index"], item=item)
        yield event("response.content_part.added", **spot, part=shape.part(""))
        said: list[str] = []
        yield from self._spoken(
            deltas, self.writer.deltas(f"{shape.event}.delta", **spot, **shape.extra), said
        )
        text = "".join(said)
        yield event(f"{shape.event}.done", **spot, **{shape.field: text}, **shape.extra)
        yield event("response.content_part.done", **spot, part=shape.part(text))
        yield self._close({**item, "status": self._item_status(), "content": [shape.part(text)]})

    def _reasoning(self, deltas: Iterable[str]) -> Iterator[Move]:
        item = self._open("rs", type="reasoning", summary=[])
        index = len(self.record.output)
        spot = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        event = self.writer.event
        yield event("response.output_item.added", output_index=index, item=item)
        yield event("response.reasoning_summary_part.added", **spot, part=_summary(""))
        make = self.writer.deltas("response.reasoning_summary_text.delta", **spot)
        said: list[str] = []
        yield from self._spoken(deltas, make, said)
        self.reasoning_tokens += len(said)
        text = "".join(said)
        yield event("response.reasoning_summary_text.done", **spot, text=text)
        yield event("response.reasoning_summary_part.done", **spot, part=_summary(text))
        item = {**item, "summary": [_summary(text)]}
        if self._encrypted:
            item["encrypted_content"] = seal(f"{item['id']} {text}")
        yield self._close(item)

    def _function_call(self, step: Call) -> Iterator[Move]:
        item = self._open(
            "fc",
            type="function_call",
            status="in_progress",
            arguments="",
            call_id=self._ids.new("call"),
            name=step.name,
        )
        arguments: list[str] = []
        yield from self._called(item, step, "response.function_call_arguments", "arguments", arguments)
        yield self._close({**item, "status": self._item_status(), "arguments": "".join(arguments)})

    def _custom_call(self, step: Call) -> Iterator[Move]:
        item = self._open(
            "ctc", type="custom_tool_call", call_id=self._ids.new("call"), name=step.name, input=""
        )
        given: list[str] = []
        yield from self._called(item, step, "response.custom_tool_call_input", "input", given)
        yield self._close({**item, "input": "".join(given)})

    def _called(
        self, item: dict[str, Any], step: Call, kind: str, field: str, said: list[str]
    ) -> Iterator[Move]:
        # The response now waits for a tool output: steering is held until then and ends nothing.
        self.owes_output = True
        index = len(self.record.output)
        spot = {"item_id": item["id"], "output_index": index}
        yield self.writer.event("response.output_item.added", output_index=index, item=item)
        yield from self._spoken(
            _CHUNK.findall(step.arguments), self.writer.deltas(f"{kind}.delta", **spot), said
        )
        yield self.writer.event(f"{kind}.done", **spot, **{field: "".join(said)})

    def _hosted(self, step: Hosted) -> Iterator[Move]:
        shape, fields = SHAPES[step.type], step.fields
        begun = fields | shape.begun
        item = self._open(shape.prefix, type=step.type, **begun)
        index = len(self.record.output)
        spot = {"item_id": item["id"], "output_index": index}
        event = self.writer.event
        yield event("response.output_item.added", output_index=index, item=item)
        for phase in shape.before:
            yield event(f"response.{step.type}.{phase}", **spot)
        if shape.text is not None:
            kind, said = f"response.{step.type}_{shape.text}", list[str]()
            deltas = self.writer.deltas(f"{kind}.delta", **spot)
            yield from self._spoken(_CHUNK.findall(fields[shape.text]), deltas, said)
            yield event(f"{kind}.done", **spot, **{shape.text: "".join(said)})
            if self.cut:  # before the tool runs
                yield self._close(item | {shape.text: "".join(said), "status": "incomplete"})
                return
        for phase in shape.after:
            yield event(f"response.{step.type}.{phase}", **spot)
        status = {"status": "completed"} if "status" in shape.begun else {}
        yield self._close(item | fields | status)

    def _compaction(self, step: Compact) -> Iterator[Move]:
        index = len(self.record.output)
        blank = step.item | {"encrypted_content": ""}
        yield self.writer.event("response.output_item.added", output_index=index, item=blank)
        spot = {"output_index": index, "item_id": step.item["id"]}
        yield self.writer.event("response.compaction.compacting", **spot)
        yield self._close(step.item)

    def _failure(self, step: Fail) -> Iterator[Move]:
        deltas = list(step.deltas)
        if deltas:
            for move in self._message(deltas, _TEXT, None):
                # The message stays open: a failing model sends no ``done`` events.
                if isinstance(move, Event) and move.type.endswith(".done"):
                    break
                yield move
        self.error = {"code": step.code, "message": step.message}

    def _open(self, prefix: str, **fields: Any) -> dict[str, Any]:
        return {"id": self._ids.new(prefix), **fields}

    def _close(self, item: dict[str, Any]) -> Event:
        index = len(self.record.output)
        self.record.output.append(item)
        return self.writer.event("response.output_item.done", output_index=index, item=item)

    def _item_status(self) -> str:
        return "incomplete" if self.cut else "completed"


class _Shape:
    """The content part and event names of a message: text or refusal."""

    def __init__(self, kind: str, event: str, field: str, **extra: Any) -> None:
        self._kind = kind
        self.event = event
        self.field = field
        self.extra: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        self._more = extra

    def part(self, text: str) -> dict[str, Any]:
        return {"type": self._kind, self.field: text, **self._more}


_TEXT = _Shape("output_text", "response.output_text", "text", annotations=[], logprobs=[])
_REFUSAL = _Shape("refusal", "response.refusal", "refusal")


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
