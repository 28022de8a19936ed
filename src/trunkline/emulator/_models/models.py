"""Deterministic models, chosen by name. A model is a pure function from a prompt to a script of steps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from .._protocol.errors import ApiError, type_of_status
from .prompt import Prompt
from .sampling import sample, subjects
from .steps import Call, Fail, Hosted, Reason, Say, Step, words


class Model(Protocol):
    """Function from a prompt to steps. It may raise `ApiError` to refuse the request."""

    def __call__(self, prompt: Prompt) -> Iterable[Step]:
        """Return the steps of the answer, in order."""
        ...


_COMMON = (
    "a about all an and are as at be both by can could current do does for from get give given has have how i"
    " if in into is it its me my now of on one or please so some tell that the their then there this to two"
    " up use used using want was we what when where which who will with would you your"
)
_STOP_WORDS = frozenset(_COMMON.split())
_SEVERAL = re.compile(r"\b(?:and|both|parallel|each|all)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TALE = "the quick brown fox jumps over a lazy dog while seven small birds sing near an old stone bridge"
_VOCABULARY = _TALE.split()


def echo(prompt: Prompt) -> Iterable[Step]:
    """Answer with the text of the last user message."""
    if prompt.user_message is None and prompt.outputs:
        return [answer(prompt, prompt.outputs[-1][1])]
    return [answer(prompt, prompt.user_text)]


def word_count(prompt: Prompt, count: int = 10) -> Iterable[Step]:
    """Answer with `count` words."""
    return [Say(_numbered(count))]


def reason(prompt: Prompt, count: int = 8) -> Iterable[Step]:
    """Reason for `count` words, then echo."""
    yield Reason(_numbered(count))
    yield from echo(prompt)


def fail(prompt: Prompt, code: str) -> Iterable[Step]:
    """Fail without output."""
    return [Fail(code, f"The emulated model failed with {code}.")]


def fail_after(prompt: Prompt, count: int, code: str) -> Iterable[Step]:
    """Fail after `count` words."""
    return [Fail(code, f"The emulated model failed with {code}.", _numbered(count))]


def refuse(prompt: Prompt, status: int, code: str) -> Iterable[Step]:
    """Refuse the request."""
    raise ApiError(
        f"The emulated model refused with {code}.", status=status, code=code, type=type_of_status(status)
    )


def messages(prompt: Prompt, count: int = 2) -> Iterable[Step]:
    """Answer with `count` messages."""
    return [Say(words(f"Part {number} of {count}. ")) for number in range(1, count + 1)]


def mixed(prompt: Prompt) -> Iterable[Step]:
    """Reason, send commentary and call tools; then answer from their outputs."""
    calls = _calls(prompt, force=not prompt.outputs)
    if not calls:
        thought: list[Step] = [Reason(words("All is known now."))]
        return [*thought, answer(prompt, _plausible(prompt))]
    first: list[Step] = [
        Reason(words("A tool is needed for this.")),
        Say(words("One moment, please."), phase="commentary"),
    ]
    return [*first, *calls]


def hosted(prompt: Prompt) -> Iterable[Step]:
    """Reason, call each hosted tool of the request, and send a message that does not tell the results.

    Each result names the end user of the request.
    """
    yield Reason(words("The tools are needed."))
    for tool in prompt.tools:
        yield from _hosted_calls(tool, prompt)
    yield answer(prompt, "Done.")


def assistant(prompt: Prompt) -> Iterable[Step]:
    """Call the tools that match the last user message, then answer from their outputs."""
    return _calls(prompt) or [answer(prompt, _plausible(prompt))]


def answer(prompt: Prompt, text: str) -> Step:
    """A message with this text, or with JSON if the request's text format is JSON."""
    wanted = prompt.text_format
    if wanted["type"] == "json_schema":
        text = json.dumps(sample(wanted["schema"], prompt.user_text))
    elif wanted["type"] == "json_object":
        text = json.dumps({"answer": text})
    return Say(words(text))


_MODELS: list[tuple[re.Pattern[str], Callable[..., Iterable[Step]]]] = [
    (re.compile(pattern), model)
    for pattern, model in (
        (r"echo\b", echo),
        (r"tools\b", assistant),
        (r"words-(?P<count>\d+)", word_count),
        (r"reason(?:-(?P<count>\d+))?\b", reason),
        (r"fail-after-(?P<count>\d+)-(?P<code>\w+)", fail_after),
        (r"fail-(?P<code>\w+)", fail),
        (r"refuse-(?P<status>\d{3})-(?P<code>\w+)", refuse),
        (r"messages-(?P<count>\d+)", messages),
        (r"mixed\b", mixed),
        (r"hosted\b", hosted),
    )
]


LISTED = ("gpt-6-astra", "gpt-6-luna", "echo", "tools", "words-10", "reason", "messages-2", "mixed", "hosted")
"""Models listed by ``GET /v1/models``. Requests may name any other model too."""


def is_named(name: str) -> bool:
    """Whether a name is listed, or selects one of the models above."""
    return name in LISTED or any(pattern.match(name) for pattern, _ in _MODELS)


def script(prompt: Prompt, default: str | None = None) -> Iterable[Step]:
    """Return the steps of the model that the prompt names; unknown names use `default` or `assistant`.

    Raises:
        ApiError: the model refuses the request.
    """
    for pattern, model in _MODELS:
        match = pattern.match(prompt.model)
        if match:
            given = {name: value for name, value in match.groupdict().items() if value is not None}
            return model(prompt, **{name: int(v) if v.isdigit() else v for name, v in given.items()})
    return script(replace(prompt, model=default)) if default else assistant(prompt)


def _numbered(count: int) -> Iterator[str]:
    for number in range(count):
        word = _VOCABULARY[number % len(_VOCABULARY)]
        yield word if number == 0 else f" {word}"


def _plausible(prompt: Prompt) -> str:
    if prompt.outputs:
        found = "; ".join(f"{name} says {text}" for name, text in prompt.outputs)
        return f"Here is what I found: {found}."
    said = " ".join(prompt.user_text.split())
    return f"You said: {said}" if said else "How can I help you?"


def _calls(prompt: Prompt, *, force: bool = False) -> list[Step]:
    tools = prompt.callable_tools
    must = prompt.must_call
    if not tools or (prompt.outputs and not must):
        return []
    spoken = _meaning(prompt.user_text)
    chosen = [tool for tool in tools if spoken & _meaning(f"{tool['name']} {tool.get('description') or ''}")]
    if not chosen and (must or force):
        chosen = tools[:1]
    calls = [call for tool in chosen for call in _calls_of(tool, prompt, alone=len(chosen) == 1)]
    return calls if prompt.parallel_tool_calls else calls[:1]


def _calls_of(tool: dict[str, Any], prompt: Prompt, *, alone: bool) -> list[Step]:
    text = prompt.user_text
    about: list[str] = subjects(text)
    if not alone or not _SEVERAL.search(text):
        about = about[:1]
    return [_call(tool, text, subject) for subject in about or [text]]


def _call(tool: dict[str, Any], text: str, subject: str) -> Call:
    if tool["type"] == "custom":
        return Call(tool["name"], text, custom=True)
    arguments = sample(tool.get("parameters") or {"type": "object"}, text, subject)
    return Call(tool["name"], json.dumps(arguments))


def _hosted_calls(tool: dict[str, Any], prompt: Prompt) -> Iterator[Step]:
    about, found = prompt.user_text, f"found for {prompt.end_user}"
    if tool["type"].startswith("web_search"):
        source = {"type": "url", "url": f"https://example.com/{len(about)}#{found}"}
        yield Hosted("web_search_call", {"action": {"type": "search", "query": about, "sources": [source]}})
    elif tool["type"] == "code_interpreter":
        logs = {"type": "logs", "logs": found}
        fields = {"container_id": f"cntr_{len(about)}", "code": f"print({about!r})", "outputs": [logs]}
        yield Hosted("code_interpreter_call", fields)
    elif tool["type"] == "mcp":
        server = {"server_label": tool["server_label"]}
        if not _has_list(prompt, tool["server_label"]):
            listed = {"name": "look_up", "description": found, "input_schema": {"type": "object"}}
            yield Hosted(
                "mcp_list_tools", server | {"tools": [{"annotations": None} | listed], "error": None}
            )
        call = {"name": "look_up", "arguments": json.dumps({"about": about}), "output": found}
        yield Hosted("mcp_call", server | call | {"error": None, "approval_request_id": None})


def _has_list(prompt: Prompt, label: str) -> bool:
    return any(
        item.get("type") == "mcp_list_tools" and item["server_label"] == label
        for item in prompt.context.newest_first()
    )


def _meaning(text: str) -> set[str]:
    found = {word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text))}
    return found - _STOP_WORDS
