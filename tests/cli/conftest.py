from __future__ import annotations

from collections.abc import Iterator

import pytest

from trunkline.emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server in a thread, so that it answers while the test waits for a command."""
    running = Emulator(first_token_s=0.05, tokens_per_second=10.0)
    with running.run_in_thread():
        yield running
