"""The part of an answer that the listener heard, which replaces the answer in the history."""

from __future__ import annotations

from collections.abc import Sequence

from ._protocol.items import Item, assistant_message


def as_heard(output: Sequence[Item], text: str) -> list[Item]:
    """The output of one or more responses, with its text cut to the part that the listener heard.

    - Each message keeps the heard part of its text. White space between two messages is not compared.
    - If ``text`` is not the beginning of the messages' text, it replaces the last message, and the others
      are removed.
    - Calls and their outputs stay.
    - Reasoning stays if all text was heard. Otherwise it stays only in responses with calls, because the
      service may refuse a call without its reasoning.
    """
    texts = [item.joinable_text for item in output if item.joinable_text is not None]
    if not texts:
        return [*_without_reasoning(output), *([assistant_message(text)] if text else [])]
    parts = _distributed(text, texts)
    if parts == texts:
        return list(output)
    rest = iter(parts if parts is not None else ["" for _ in texts[1:]] + [text])
    kept: list[Item] = []
    for item in output:
        if item.joinable_text is None:
            kept.append(item)
        elif (part := next(rest)) != "":
            kept.append(item if part == item.joinable_text else assistant_message(part))
    return _without_reasoning(kept)


def _distributed(heard: str, texts: Sequence[str]) -> list[str] | None:
    """The heard part of each text; ``None`` if the texts do not begin with ``heard``."""
    parts: list[str] = []
    for text in texts:
        if not heard.startswith(text) and not text.startswith(heard):
            heard = heard.lstrip() if parts else heard
        part = text if heard.startswith(text) else heard
        if not text.startswith(part):
            return None
        parts.append(part)
        heard = heard[len(part) :]
    return parts if not heard.strip() else None


def _without_reasoning(output: Sequence[Item]) -> list[Item]:
    """The output without the reasoning of responses that have no calls.

    The outputs of calls separate two responses.
    """
    kept: list[Item] = []
    response: list[Item] = []
    for item in output:
        if item.is_call_output:
            kept += [*_of_calls(response), item]
            response = []
        else:
            response.append(item)
    return kept + _of_calls(response)


def _of_calls(response: Sequence[Item]) -> list[Item]:
    has_calls = any(item.is_call for item in response)
    return [item for item in response if has_calls or not item.is_server_only]


__all__ = ["as_heard"]
