"""deploy/compose.yaml fits the schema of Compose, its files, and nginx. No container runs here."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from .balancers import DEPLOY, program

COMPOSE = DEPLOY / "compose.yaml"
REPLICAS = ("replica1", "replica2")


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture
def schema() -> Draft202012Validator:
    path = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return Draft202012Validator(json.loads(path.read_text()))


def mistakes(schema: Draft202012Validator, document: dict[str, Any]) -> list[str]:
    return [error.message for error in schema.iter_errors(document)]


def test_it_is_valid(schema: Draft202012Validator) -> None:
    assert mistakes(schema, compose()) == []


def test_a_mistake_is_found(schema: Draft202012Validator) -> None:
    wrong = compose()
    wrong["services"]["valkey"]["stop_grace"] = "10s"
    assert mistakes(schema, wrong) != []


def test_the_files_that_it_names_exist() -> None:
    services = compose()["services"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert (DEPLOY / volume.partition(":")[0]).is_file()
    build = services["replica1"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_nginx_takes_its_configuration_with_the_addresses_of_the_replicas(tmp_path: Path) -> None:
    services = compose()["services"]
    *_, command = services["balancer"]["command"]
    line = shlex.split(command)
    edit = line[: line.index("/shipped/nginx.conf")]
    assert edit[0] == "sed"
    done = subprocess.run([*edit, str(DEPLOY / "nginx.conf")], capture_output=True, text=True, check=True)
    addresses = [services[name]["networks"]["inside"]["ipv4_address"] for name in REPLICAS]
    port = tomllib.loads((DEPLOY / "compose.toml").read_text())["listen"]["port"]
    assert re.findall(r"\bserver (\S+) ", done.stdout) == [f"{each}:{port}" for each in addresses]
    assert "127.0.0.1" not in done.stdout
    published = services["balancer"]["ports"][0]
    assert f"listen {published.rpartition(':')[2]};" in done.stdout
    path = tmp_path / "nginx.conf"
    path.write_text(f"pid {tmp_path}/nginx.pid;\n{done.stdout}")
    checked = subprocess.run(
        [program("nginx", "nginx-light"), "-t", "-e", str(tmp_path / "error.log"), "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_replicas_take_their_configuration_and_have_time_to_drain() -> None:
    services = compose()["services"]
    document = tomllib.loads((DEPLOY / "compose.toml").read_text())
    assert document["shared"]["replicas"] == len(REPLICAS)
    assert document["shared"]["valkey"].split("//")[1].split(":")[0] in services
    for name in REPLICAS:
        grace_s = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert grace_s > document["drain"]["notice_s"] + document["drain"]["within_s"]
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "serve", "--check", "--config", str(DEPLOY / "compose.toml")],
        env={"OPENAI_API_KEY": "sk-test", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
