"""pytest plugin with fixtures for a running emulator.

`trunkline_emulator` is a server in a thread of its own, for synchronous and asynchronous tests. A test that
leaves an expectation unmet fails.
The marker of the same name sets its arguments::

    @pytest.mark.trunkline_emulator(zdr=True, tokens_per_second=50)
    def test_something(trunkline_emulator): ...

`trunkline_environment` also sets ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` to it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .emulator import ThreadedEmulator

_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "trunkline_emulator(**options): arguments of Emulator for the trunkline_emulator fixture"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether the test itself failed."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = not report.passed
    return report


@pytest.fixture
def trunkline_emulator(request: pytest.FixtureRequest) -> Iterator[ThreadedEmulator]:
    """A running emulator, with its URL, requests, responses, effective contexts and faults."""
    # Imported here, so that a test run without emulator does not import it.
    from .emulator import Emulator, ThreadedEmulator

    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("trunkline_emulator"))):
        options |= marker.kwargs
    with ThreadedEmulator(Emulator(**options)) as emulator:
        yield emulator
        if not request.node.stash.get(_FAILED, False):  # else the failure is the reason
            unmet = [expectation.shortfall for expectation in emulator.unmet_expectations]
            assert not unmet, f"expectations of the emulator were not met: {'; '.join(unmet)}"


@pytest.fixture
def trunkline_environment(
    trunkline_emulator: ThreadedEmulator, monkeypatch: pytest.MonkeyPatch
) -> ThreadedEmulator:
    """The running emulator, set in the OpenAI variables of the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", trunkline_emulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", trunkline_emulator.api_key or "sk-emulator")
    return trunkline_emulator
