"""A pytest plugin: fixtures that give a running emulator.

`trunkline_emulator` is a server in a thread of its own, for synchronous and asynchronous tests alike.
The marker of the same name sets it up::

    @pytest.mark.trunkline_emulator(zdr=True, tokens_per_second=50)
    def test_something(trunkline_emulator): ...

`trunkline_environment` also points ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .emulator import ThreadedEmulator


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "trunkline_emulator(**options): arguments of Emulator for the trunkline_emulator fixture"
    )


@pytest.fixture
def trunkline_emulator(request: pytest.FixtureRequest) -> Iterator[ThreadedEmulator]:
    """A running emulator: its URL, requests, responses, effective contexts and faults."""
    # Imported here, so that a run which needs no emulator does not load a web server.
    from .emulator import Emulator, ThreadedEmulator

    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("trunkline_emulator"))):
        options |= marker.kwargs
    with ThreadedEmulator(Emulator(**options)) as emulator:
        yield emulator


@pytest.fixture
def trunkline_environment(
    trunkline_emulator: ThreadedEmulator, monkeypatch: pytest.MonkeyPatch
) -> ThreadedEmulator:
    """The emulator, to which the environment's OpenAI settings point."""
    monkeypatch.setenv("OPENAI_BASE_URL", trunkline_emulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", trunkline_emulator.api_key or "sk-emulator")
    return trunkline_emulator
