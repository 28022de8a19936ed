"""Items in one form, to compare a server's view of a conversation with an application's.

Independent of the library's own rules of equality, because it is used to check them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Form = tuple[str, ...]

_SERVER_ONLY = {"reasoning", "web_search_call", "file_search_call", "mcp_call", "mcp_list_tools"}


def canonical(items: Iterable[Mapping[str, Any]], *, ordered: bool = True) -> list[object]:
    """Messages, calls and outputs in order, without the items that only servers hold.

    Consecutive assistant texts are joined. When not ``ordered``, each run of assistant texts and calls is
    compared by its texts in order and by its calls in any order: the order inside a response is the server's.
    An output ends the run, so that a text before it is not equal to the same text after it.
    """
    forms = _joined([_form(item) for item in items if item.get("type", "message") not in _SERVER_ONLY])
    return list(forms) if ordered else _stretches(forms)


def text_of(items: Iterable[Mapping[str, Any]]) -> str:
    """All assistant text among these items."""
    return "".join(_content(item["content"]) for item in items if item.get("role") == "assistant")


def _form(item: Mapping[str, Any]) -> Form:
    kind = item.get("type", "message")
    if kind == "message":
        return (item["role"], _content(item["content"]))
    if kind == "function_call":
        arguments = json.dumps(json.loads(item["arguments"]), sort_keys=True)
        return ("call", item["call_id"], item["name"], arguments)
    if kind == "function_call_output":
        return ("output", item["call_id"], item["output"])
    raise AssertionError(f"canonical() does not support items of type {kind}")


def _content(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _joined(forms: Iterable[Form]) -> list[Form]:
    joined: list[Form] = []
    for form in forms:
        if form[0] == "assistant" and joined and joined[-1][0] == "assistant":
            joined[-1] = ("assistant", joined[-1][1] + form[1])
        else:
            joined.append(form)
    return joined


def _stretches(forms: Iterable[Form]) -> list[object]:
    found: list[object] = []
    texts: list[str] = []
    calls: list[Form] = []
    for form in [*forms, ("end",)]:
        if form[0] == "assistant":
            texts.append(form[1])
        elif form[0] == "call":
            calls.append(form)
        else:
            if texts or calls:
                found.append(("".join(texts), sorted(calls)))
            texts, calls = [], []
            found.append(form)
    return found
