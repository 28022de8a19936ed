"""A client of somebody else can be measured without a change of the repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
PAGE = ROOT / "docs" / "benchmarks" / "add-a-client.md"


def bench(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program of the benchmark with the packages of this interpreter."""
    command = [sys.executable, str(BENCH / program), "--here", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def source_of_the_page() -> str:
    """The client that the page shows."""
    found = re.search(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def client(tmp_path: Path) -> str:
    path = tmp_path / "my_client.py"
    path.write_text(source_of_the_page())
    return f"{path}:MyClient"


def measured(out: Path, *arguments: object) -> tuple[dict[str, Any], str]:
    """The stored figures of a short measurement, and its page."""
    done = bench("run.py", "--quick", "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "figures.json").read_bytes()), (out / "results.md").read_text()


def test_the_client_of_the_page_keeps_the_contract(client: str) -> None:
    done = bench("contract.py", client)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the client can be measured" in done.stdout
    assert "no work; left out of bytes" in done.stdout


@pytest.mark.parametrize("name", ["floor", "trunkline", "trunkline-keyed", "openai-dropin"])
def test_clients_of_the_repository_keep_the_contract(name: str) -> None:
    done = bench("contract.py", name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ('heard(event["delta"])', "heard('a word')", "must pass each delta to `heard` unchanged"),
        ("deltas += 1", "deltas += 2", "of 5"),
        ("await self._socket.close()", "pass", "deltas to `heard` and counted 98, of 3"),
        ("if deltas == limit:", "if False:", "counted 100, of 2"),
        ("async def open", "async def opens", "abstract"),
    ],
)
def test_a_broken_rule_is_named(tmp_path: Path, right: str, wrong: str, rule: str) -> None:
    source = source_of_the_page()
    assert right in source
    path = tmp_path / "my_client.py"
    path.write_text(source.replace(right, wrong))
    done = bench("contract.py", f"{path}:MyClient")
    assert done.returncode > 0
    assert rule in done.stdout


def test_a_name_without_a_client_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name in ("nothing", f"{tmp_path}/nothing.py:Client"):
        done = bench("contract.py", name)
        assert done.returncode == 2
        assert "nothing" in done.stdout
    assert "no client is named nothing" in bench("run.py", "--client", "nothing").stderr


def test_the_client_is_measured_beside_ours_with_and_without_the_collector(
    client: str, tmp_path: Path
) -> None:
    stored, page = measured(
        tmp_path / "out", "--client", client, "--client", "floor", "--case", "delta-one", "--case", "bytes"
    )
    runs = [(run["case"], run["client"], run["gc"]) for run in stored["runs"]]
    of_deltas = [("delta-one", name, gc) for name in ("floor", "MyClient") for gc in (True, False)]
    assert sorted(runs) == sorted([*of_deltas, ("bytes", "floor", True)])
    assert all("failed" not in run["figures"] for run in stored["runs"])
    assert "cpu_us_no_gc" in page
    assert "MyClient was not run: the client has no work." in page


def test_a_package_that_is_not_installed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "my_client.py"
    path.write_text(f"import no_such_package\n{source_of_the_page()}")
    stored, page = measured(tmp_path / "out", "--client", f"{path}:MyClient", "--case", "barge-in")
    assert stored["runs"] == []
    assert "MyClient was not run: no_such_package is not installed." in page


def test_what_the_time_limit_leaves_out_keeps_its_figures_and_is_said(tmp_path: Path) -> None:
    chosen = ("--client", "floor", "--case", "bytes")
    stored, _ = measured(tmp_path, *chosen)
    again, page = measured(tmp_path, *chosen, "--minutes", 0)
    assert again["runs"] == stored["runs"]
    assert "floor was not run: the time limit of 0 minutes had passed. Its figures are older." in page


def test_each_client_is_measured_in_a_case_and_the_rows_of_the_page_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    names, cases = import_module("clients").NAMES, import_module("cases").CASES
    assert set(names) <= {client for case in cases.values() for client in case.clients}
    overview = import_module("overview")
    shown = {client for row in overview.ROWS for client in cases[row.case].clients}
    assert set(overview.CLIENTS) <= shown
    assert {row.case for row in overview.PROXY_ROWS} <= set(cases)
