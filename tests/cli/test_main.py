from __future__ import annotations

import subprocess
import sys

import pytest

import trunkline as library

from .command import ESCAPE, TIMEOUT_S, environment, trunkline


def test_the_version_is_the_packages() -> None:
    done = trunkline("--version")
    assert (done.stdout, done.returncode) == (f"trunkline {library.__version__}\n", 0)


def test_the_help_names_every_command_and_is_plain_in_a_pipe() -> None:
    done = trunkline("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("demo", "chat", "emulate", "doctor"))
    assert ESCAPE not in done.stdout


@pytest.mark.parametrize("missing", ["typer", "rich", "aiohttp", "yaml"])
def test_without_the_extra_one_sentence_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from trunkline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"trunkline: the command line needs {missing}: run pip install 'trunkline[cli]',"
        " or pip install '.[cli]' in a clone\n"
    )


def test_a_wrong_option_is_a_sentence_too() -> None:
    done = trunkline("emulate", "--port", "99999")
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "--version"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.stdout, done.returncode) == (f"trunkline {library.__version__}\n", 0)
