"""Frames of exceptions show neither keys nor the words of the caller, as error reporters render them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from livekit.agents import APIError
from livekit.agents.llm import FunctionCall
from livekit.plugins import trunkline
from trunkline.emulator import Emulator

from .talk import MODEL, ONCE, ask, context

KEY = "sk-key-of-the-caller"
WORDS = "words-of-the-caller"
HERE = str(Path(__file__).parent)


def frames_of(error: BaseException | None, seen: set[int]) -> Iterator[FrameType]:
    """All frames outside of the tests, of an exception, its causes and its contexts."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(HERE):
            yield trace.tb_frame
        trace = trace.tb_next
    yield from frames_of(error.__cause__, seen)
    yield from frames_of(error.__context__, seen)


def shown_by(error: BaseException) -> list[str]:
    """The local variables with a secret."""
    return [
        f"{Path(frame.f_code.co_filename).name} {frame.f_code.co_qualname}: {name}"
        for frame in frames_of(error, set())
        for name, value in frame.f_locals.items()
        if any(secret in repr(value) for secret in (KEY, WORDS))
    ]


def llm_of(emulator: Emulator, **options: Any) -> trunkline.LLM:
    given = {"base_url": f"{emulator.base_url}?api-key={KEY}", "api_key": KEY, "extra_headers": {"x": KEY}}
    return trunkline.LLM(model=MODEL, user=WORDS, **{**given, **options})


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "refused request": ("reject", {"status": 400, "code": "invalid_prompt"}),
    "failed response": ("fail", {"status": 500}),
    "lost connection": ("drop", {"event_type": "response.output_text.delta"}),
}


@pytest.mark.parametrize("use_websocket", [True, False])
@pytest.mark.parametrize(("fault", "details"), FAULTS.values(), ids=FAULTS)
async def test_a_failed_request_shows_no_secret(
    emulator: Emulator, fault: str, details: dict[str, Any], use_websocket: bool
) -> None:
    emulator.api_key = KEY
    emulator.faults.add(fault, times=None, **details)
    llm = llm_of(emulator, use_websocket=use_websocket)
    with pytest.raises(APIError) as failure:
        await ask(llm, context(WORDS), conn_options=ONCE)
    assert shown_by(failure.value) == []
    await llm.aclose()


@pytest.mark.parametrize("use_websocket", [True, False])
async def test_a_wrong_key_shows_no_secret(emulator: Emulator, use_websocket: bool) -> None:
    llm = llm_of(emulator, use_websocket=use_websocket)
    with pytest.raises(APIError) as failure:
        await ask(llm, context(WORDS), conn_options=ONCE)
    assert shown_by(failure.value) == []
    await llm.aclose()


@pytest.mark.parametrize("use_websocket", [True, False])
async def test_a_server_that_is_not_there_shows_no_secret(emulator: Emulator, use_websocket: bool) -> None:
    llm = llm_of(emulator, base_url=f"http://127.0.0.1:9/v1?api-key={KEY}", use_websocket=use_websocket)
    with pytest.raises(APIError) as failure:
        await ask(llm, context(WORDS), conn_options=ONCE)
    assert shown_by(failure.value) == []
    await llm.aclose()


async def test_a_context_that_cannot_be_sent_shows_no_secret(emulator: Emulator) -> None:
    llm, chat_ctx = llm_of(emulator), context(WORDS)
    with pytest.raises(APIError) as failure:
        await ask(llm, chat_ctx, conn_options=ONCE, extra_kwargs={"metadata": {"of": {1, 2}, "by": WORDS}})
    assert shown_by(failure.value) == []
    chat_ctx.items.append(FunctionCall(call_id="c", name="look_up", arguments=WORDS))
    await llm.aclose()
    with pytest.raises(APIError) as closed:
        await ask(llm, chat_ctx, conn_options=ONCE)
    assert shown_by(closed.value) == []


@pytest.mark.parametrize(
    "wrong", [{"api_key": f"{KEY}\n"}, {"extra_headers": {"x": f"{KEY}\n"}}, {"base_url": f"ftp://{KEY}"}]
)
def test_a_refused_argument_shows_no_secret(wrong: dict[str, Any]) -> None:
    given = {"api_key": KEY, "extra_headers": {"x": KEY}, "base_url": "https://service.test/v1", **wrong}
    with pytest.raises(ValueError, match=r".") as failure:
        trunkline.LLM(model=MODEL, **given)
    assert shown_by(failure.value) == []
