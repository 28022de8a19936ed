"""Each source file of the library has a twin in tests/, or an entry here with the tests that cover it.

The emulator and the command line are tested as a whole, by the files in tests/emulator and tests/cli.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_layers import LIBRARY, TRUNKLINE

TESTS = Path(__file__).parent
TESTED_IN = {
    "events": "test_exports.py",  # names only
    "_face.answering": "openai/test_async_transport.py",
    "_face.door": "openai/test_async_transport.py",
    "_face.outcome": "_face/test_refusals.py",
    "_network.assembly": "_network/test_transports.py",
    "_network.dialler": "_network/test_credentials.py",
    "_network.exchange": "_turns/test_turn.py",
    "_network.http_exchange": "_network/test_http.py",
    "_network.http_proxy": "_network/test_http_client.py",
    "_network.peer": "_network/test_pulse.py",
    "_network.reasons": "_network/test_redials.py",
    "_network.receiver": "_network/test_listener.py",
    "_network.world": "test_rotation.py",
    "_protocol.decoding": "_protocol/test_events.py",
    "_protocol.sink": "_turns/test_inbox.py",
    "_turns.settings": "test_settings.py",
    "_turns.watch": "_turns/test_inbox.py",
    "openai.clients": "openai/test_options.py",
    "openai.loop_thread": "openai/test_sync_transport.py",
    "tools.models": "tools/test_parameter.py",
    "tools.schema": "tools/test_signature.py",
}
"""Source files without a twin, and the file that tests each of them."""
FILES = [name for name in LIBRARY if TRUNKLINE.path_of(name).name != "__init__.py"]


def twin_of(module: str) -> Path:
    *folders, name = module.split(".")
    return TESTS.joinpath(*folders, f"test_{name}.py")


@pytest.mark.parametrize("module", FILES)
def test_each_source_file_has_a_twin_or_an_entry(module: str) -> None:
    assert twin_of(module).exists() or module in TESTED_IN


@pytest.mark.parametrize("module", TESTED_IN)
def test_each_entry_is_needed_and_names_a_test(module: str) -> None:
    assert module in FILES
    assert not twin_of(module).exists()
    assert (TESTS / TESTED_IN[module]).exists()
