"""The workflows run commands that exist, on the supported versions, with few rights."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .test_pages import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def loaded(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def test_there_is_a_workflow_for_each_purpose() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "docs", "nightly", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_make_targets_of_a_workflow_exist(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", path.read_text())
    named = {target for command in commands for target in command.split()}
    assert named
    assert named <= targets


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_a_job_says_more_and_has_no_stored_secret(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text()
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}


def test_ci_covers_the_supported_versions_and_both_systems() -> None:
    matrix = loaded(FOLDER / "ci.yml")["jobs"]["unit"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    declared = [name.removeprefix(prefix) for name in project["classifiers"] if name.startswith(prefix)]
    assert set(declared) <= set(matrix["python"])
    assert project["requires-python"] == f">={matrix['python'][0]}"
    assert {job["system"] for job in matrix["include"]} | set(matrix["system"]) == {
        "ubuntu-latest",
        "macos-latest",
    }


def test_only_the_release_can_publish() -> None:
    rights = {
        (path.stem, name): job.get("permissions", {})
        for path in WORKFLOWS
        for name, job in loaded(path)["jobs"].items()
    }
    assert {place for place, right in rights.items() if right.get("id-token") == "write"} == {
        ("release", "publish"),
        ("docs", "deploy"),
    }
    assert {place for place, right in rights.items() if right.get("contents") == "write"} == {
        ("release", "release")
    }


def test_the_issue_forms_are_valid() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = loaded(path)
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
            ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
            assert len(ids) == len(set(ids)) > 1
