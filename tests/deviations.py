"""Responses whose events deviate from the protocol in several ways at once, for `test_deviations`.

A `Said` is an output item as the model means it. A `Server` has deviations throughout a response, a `Journey`
those of single events. `arriving` gives the events as a client receives them.

Only combinations with one reading are made. `one_reading` removes the others:

- Events change places, or come twice, only where each event has its own number, counted by one. With other
  numbers, only events without a piece of text come twice: a repeated delta may be a new one.
- An event that has lost its number changes places with none, and does not come twice if it is a delta.
- The first event with a number changes places only if it is of the life cycle: numbers may begin anywhere.
- The final event stays the last one, and has the output that stands nowhere else.
- Without ids and indices, texts and arguments come with their items: pieces could belong to any item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

JSON: TypeAlias = dict[str, Any]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
COUNTED = ("from 0", "from 1", "from 7")
"""Numbers that tell the order of events."""


@dataclass(frozen=True)
class Part:
    """A part of an item.

    Attributes:
        pieces: its text, in pieces.
        refuses: it is a refusal.
        is_cut: the deltas end within characters that have two halves in UTF-16.
    """

    pieces: tuple[str, ...]
    refuses: bool = False
    is_cut: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def deltas(self) -> list[str]:
        if not self.is_cut:
            return list(self.pieces)
        return [half for piece in self.pieces for half in _halves(piece)]

    def whole(self) -> JSON:
        if self.refuses:
            return {"type": "refusal", "refusal": self.text}
        return {"type": "output_text", "text": self.text, "annotations": []}


def _halves(piece: str) -> list[str]:
    """The piece, divided after the first half of each character that has two."""
    found = [""]
    units = piece.encode("utf-16-le")
    for at in range(0, len(units), 2):
        unit = units[at : at + 2].decode("utf-16-le", "surrogatepass")
        found[-1] += unit
        if "\ud800" <= unit <= "\udbff":
            found.append("")
    return found


@dataclass(frozen=True)
class Said:
    """An output item."""

    kind: Literal["message", "reasoning", "function_call", "custom_tool_call", "web_search_call"]
    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if not part.refuses)

    @property
    def refusal(self) -> str:
        return "".join(part.text for part in self.parts if part.refuses)

    def whole(self, number: int) -> JSON:
        head = {"id": f"item_{number}", "type": self.kind, "status": "completed"}
        if self.kind == "message":
            return {**head, "role": "assistant", "content": [part.whole() for part in self.parts]}
        if self.kind == "reasoning":
            return {
                **head,
                "summary": [{"type": "summary_text", "text": self.text}],
                "encrypted_content": "e",
            }
        if self.kind == "web_search_call":
            return {**head, "action": {"type": "search", "query": "q"}}
        return {**head, "call_id": f"call_{number}", "name": "f", CALLS[self.kind]: self.text}

    def begun(self, number: int) -> JSON:
        """The item as its first event has it."""
        empty: dict[str, JSON] = {"message": {"content": []}, "reasoning": {"summary": []}}
        value = empty.get(self.kind) or ({CALLS[self.kind]: ""} if self.kind in CALLS else {})
        return {**self.whole(number), "status": "in_progress", **value}


Answer: TypeAlias = tuple[Said, ...]


@dataclass(frozen=True)
class Server:
    """Deviations of a server.

    Attributes:
        texts: where it sends texts and refusals.
        dones: in which ``done`` events, if it sends them there.
        arguments: where it sends the arguments of calls.
        output: the output of the final response.
        numbers: the sequence numbers of its events.
        announces: it sends ``response.created``.
        has_progress: it sends ``response.in_progress``.
        has_item_ids: its items have ids, except reasoning, which always has.
        has_indices: its events name the place of their item.
        ids: the ids of the response in its life-cycle events.
        twice: the items whose calls it announces twice.
        is_early: it announces calls before their arguments, too.
        has_fields: it sends fields that no documentation has.
    """

    texts: Literal["everywhere", "deltas", "done", "final"] = "everywhere"
    dones: frozenset[str] = frozenset({"text", "part", "item"})
    arguments: Literal["everywhere", "deltas", "done", "item", "final"] = "everywhere"
    output: Literal["whole", "empty", "missing", "null", "with nulls"] = "whole"
    numbers: Literal[
        "from 0", "from 1", "from 7", "none", "constant", "in steps", "by item", "floats", "strings"
    ] = "from 0"
    announces: bool = True
    has_progress: bool = True
    has_item_ids: bool = True
    has_indices: bool = True
    ids: Literal["one", "none", "of each event"] = "one"
    twice: frozenset[int] = frozenset()
    is_early: bool = False
    has_fields: bool = False


@dataclass(frozen=True)
class Journey:
    """Deviations of single events, by the place of the event. Places beyond the end begin anew.

    Attributes:
        swapped: events that change places with the next one.
        repeated: events that come again, and after how many others.
        inserted: places after which an event of `INSERTED` comes.
        unnumbered: events that lose their numbers.
    """

    swapped: frozenset[int] = frozenset()
    repeated: tuple[tuple[int, int], ...] = ()
    inserted: tuple[tuple[int, str], ...] = ()
    unnumbered: frozenset[int] = frozenset()


INSERTED: dict[str, JSON] = {
    "keep-alive": {"type": "keepalive"},
    "codex": {"type": "codex.rate_limits", "rate_limits": {"a": 1}},
    "unknown": {"type": "response.unheard_of", "response_id": "other"},
    "item of null": {"type": "response.output_item.added", "item": None},
    "done of null": {"type": "response.output_item.done", "item": None},
    "delta of null": {"type": "response.output_text.delta", "delta": None},
    "empty delta": {"type": "response.output_text.delta", "delta": ""},
    "empty arguments": {"type": "response.function_call_arguments.delta", "delta": ""},
    "empty reasoning": {"type": "response.reasoning_text.delta", "delta": ""},
}


@dataclass(frozen=True)
class Case:
    """An answer and what happens to it. Its repr has the deviations alone."""

    answer: Answer
    server: Server = field(default_factory=Server)
    journey: Journey = field(default_factory=Journey)

    def one_reading(self) -> Case:
        """The case without the deviations that, together with others, leave more than one reading."""
        answer, server = self.answer, self.server
        said = "".join(item.text for item in answer if item.kind == "message")
        if said and not said.strip():  # gateways open an answer with white space
            answer = tuple(item for item in answer if item.kind != "message")
        if "final" in (server.texts, server.arguments) and server.output != "with nulls":
            server = replace(server, output="whole")
        if not server.has_indices and (
            (server.texts == "done" and (server.dones != {"item"} or not server.has_item_ids))
            or (server.arguments in ("deltas", "done") and not server.has_item_ids)
        ):
            server = replace(server, has_indices=True)
        return replace(self, answer=answer, server=server)

    def __repr__(self) -> str:
        given = [
            f"{each.name}={getattr(one, each.name)!r}"
            for one in (self.server, self.journey)
            for each in fields(one)
            if getattr(one, each.name) != getattr(type(one)(), each.name)
        ]
        return f"Case({self.answer!r}, {', '.join(given)})"


def arriving(case: Case) -> list[JSON]:
    """The events as they arrive."""
    server, journey = case.server, case.journey
    events = list(_numbered(list(_told(case.answer, server)), server))
    counts, last = server.numbers in COUNTED, len(events) - 1
    lost = {at for at in journey.unnumbered if counts}
    for at in lost & set(range(len(events))):
        events[at] = {name: value for name, value in events[at].items() if name != "sequence_number"}
    order = list(range(len(events)))
    for at in sorted(each % len(events) for each in journey.swapped if counts):
        is_free = events[at]["type"] in _BEGINNINGS or not lost.issuperset(range(at))
        if is_free and at + 1 < last and order[at] == at and not lost & {at, at + 1}:
            order[at], order[at + 1] = order[at + 1], order[at]
    arrived = [events[at] for at in order]
    later = [(at % len(arrived), INSERTED[name]) for at, name in journey.inserted]
    for at, after in journey.repeated:
        event = arrived[at % len(arrived)]
        if "delta" not in event or (counts and "sequence_number" in event):
            later.append((min(at % len(arrived) + after, last), event))
    for at, event in sorted(later, key=lambda each: -each[0]):
        arrived.insert(at + 1, event)
    return arrived


_BEGINNINGS = {"response.created", "response.in_progress"}


def _numbered(events: list[JSON], server: Server) -> Iterator[JSON]:
    item, in_item = None, 0
    for at, event in enumerate(events):
        in_item = in_item + 1 if event.get("output_index") == item else 0
        item = event.get("output_index")
        number = {
            "from 0": at,
            "from 1": at + 1,
            "from 7": at + 7,
            "none": None,
            "constant": 0,
            "in steps": 2 * at,
            "by item": in_item,
            "floats": float(at),
            "strings": str(at),
        }[server.numbers]
        yield event if number is None else {**event, "sequence_number": number}


def _told(answer: Answer, server: Server) -> Iterator[JSON]:
    """The events in order, without numbers."""
    output: Any = [item.whole(at) for at, item in enumerate(answer) if _is_in_final(item, server)]
    if server.output == "with nulls":
        output = [None, *output, None]
    final: dict[str, JSON] = {"missing": {}, "null": {"output": None}, "empty": {"output": []}}
    events: list[JSON] = []
    if server.announces:
        events.append(_life_cycle("created", 1, server, output=[]))
    if server.has_progress:
        events.append(_life_cycle("in_progress", 2, server, output=[]))
    events += [event for at, item in enumerate(answer) for event in _told_item(at, item, server)]
    events.append(_life_cycle("completed", 3, server, **final.get(server.output, {"output": output})))
    for event in events:
        if not server.has_item_ids:
            event.pop("item_id", None)
            for each in (event.get("item"), *(event.get("response", {}).get("output") or ())):
                if each is not None and each["type"] != "reasoning":
                    each.pop("id", None)
        if not server.has_indices:
            event.pop("output_index", None)
            event.pop("content_index", None)
        if server.has_fields:
            event |= {"obfuscation": {"x": [1]}, "text_offset": 7}
        yield event


def _is_in_final(item: Said, server: Server) -> bool:
    if item.kind == "message":
        return server.texts in ("everywhere", "final")
    return item.kind not in CALLS or server.arguments in ("everywhere", "final")


def _life_cycle(status: str, turn: int, server: Server, **more: Any) -> JSON:
    name = {"one": {"id": "resp_1"}, "none": {}, "of each event": {"id": f"resp_{turn}"}}[server.ids]
    response = {**name, "status": status, **more}
    return {"type": f"response.{status}", "response": response}


def _told_item(at: int, item: Said, server: Server) -> Iterator[JSON]:
    whole = item.whole(at)
    done = {"type": "response.output_item.done", "item": whole, "output_index": at}
    added = {"type": "response.output_item.added", "item": item.begun(at), "output_index": at}
    place = {"item_id": whole["id"], "output_index": at}
    if item.kind == "message":
        yield from _told_message(item, server, place, added, done)
    elif item.kind in CALLS:
        yield from _told_call(item, server, place, added, done)
        if at in server.twice and server.arguments in ("everywhere", "item"):
            yield {**done, "item": dict(whole)}
    else:
        yield added
        if item.kind == "reasoning":
            yield from (
                {"type": "response.reasoning_summary_text.delta", **place, "summary_index": 0, "delta": piece}
                for piece in item.parts[0].deltas
            )
        else:
            yield from (
                {"type": f"response.web_search_call.{state}", **place} for state in ("begun", "ended")
            )
        yield done


def _told_call(item: Said, server: Server, place: JSON, added: JSON, done: JSON) -> Iterator[JSON]:
    where, value = server.arguments, CALLS[item.kind]
    kind = f"response.{'function_call_arguments' if value == 'arguments' else 'custom_tool_call_input'}"
    if where in ("everywhere", "deltas", "done"):
        yield added
    if where in ("everywhere", "deltas"):
        yield from ({"type": f"{kind}.delta", **place, "delta": piece} for piece in item.parts[0].deltas)
    if where in ("everywhere", "done"):
        yield {"type": f"{kind}.done", **place, value: item.text}
    if where == "everywhere" and server.is_early:
        yield {**done, "item": {**done["item"], value: ""}}
    if where in ("everywhere", "item"):
        yield done


def _told_message(item: Said, server: Server, place: JSON, added: JSON, done: JSON) -> Iterator[JSON]:
    where = server.texts
    dones = {"everywhere": {"text", "part", "item"}, "done": server.dones}.get(where, frozenset())
    if where in ("everywhere", "deltas"):
        yield added
    for index, part in enumerate(item.parts):
        spot = {**place, "content_index": index}
        kind, value = ("response.refusal", "refusal") if part.refuses else ("response.output_text", "text")
        if where == "everywhere":
            yield {"type": "response.content_part.added", **spot, "part": {**part.whole(), value: ""}}
        if where in ("everywhere", "deltas"):
            yield from ({"type": f"{kind}.delta", **spot, "delta": piece} for piece in part.deltas)
        if "text" in dones:
            yield {"type": f"{kind}.done", **spot, value: part.text}
        if "part" in dones:
            yield {"type": "response.content_part.done", **spot, "part": part.whole()}
    if "item" in dones:
        yield done
