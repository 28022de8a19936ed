"""The example test in docs/emulator.md runs as a test."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


async def test_the_voice_agent_of_the_page_is_tested() -> None:
    source = next(block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    body = source[source.index("async def") :].strip().splitlines()
    assert len(body) <= 11
    names: dict[str, Callable[[], Awaitable[None]]] = {}
    exec(compile(source, str(PAGE), "exec"), names)
    await names["test_the_caller_interrupts"]()
