"""The distributions: their contents, and what they do in a clean environment. Needs a package index."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "livekit-plugins-trunkline"
pytestmark = pytest.mark.timeout(900)  # it downloads, on any network

EXTRAS = ("cli", "gateway-shared", "otel")
PROGRAM = """
import asyncio, trunkline, trunkline.otel
from trunkline.emulator import Emulator

async def main():
    async with Emulator() as emulator:
        settings = {"base_url": emulator.base_url, "api_key": emulator.api_key, "lanes": True}
        for transport in ("websocket", "http"):
            async with trunkline.Client(**settings, transport=transport) as client:
                chat = client.conversation(model="echo", tools=[ask])
                await chat.run("one")
                response = await chat.run("two")
                print(response.output_text, client.metrics.deltas)

def ask(question: str, times: int = 1) -> list[str]:
    return [question] * times

asyncio.run(main())
"""


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command and return its output."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdists of both projects, and wheels made from them."""
    folder = tmp_path_factory.mktemp("dist")
    for project in (ROOT, PLUGIN):
        run(sys.executable, "-m", "build", "--outdir", folder, project)
    return folder


def wheel_of(dist: Path, name: str) -> Path:
    (wheel,) = dist.glob(f"{name}-*.whl")
    return wheel


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def oldest(wheel: Path) -> list[str]:
    """The lower bounds of the dependencies and of those of its extras, as exact requirements."""
    required = metadata_of(wheel).get_all("Requires-Dist", [])
    bounds = [re.match(r"([\w.-]+)(?:\[\w+\])?.*?>=([\d.]+)", requirement) for requirement in required]
    return [f"{found[1]}=={found[2]}" for found in bounds if found is not None]


class Environment:
    """A virtual environment that has nothing but pip."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self._bin = folder / "bin"

    def install(self, *arguments: object) -> None:
        run(
            self._bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments
        )

    def run(self, program: str, *arguments: str) -> str:
        return run(self._bin / program, *arguments, cwd=self._bin)  # not in the repository

    def first_line(self, program: str, *arguments: str) -> str:
        """Start a server, and return the first line of its output."""
        command = [str(self._bin / program), *arguments]
        server = subprocess.Popen(command, cwd=self._bin, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            return server.stdout.readline()
        finally:
            server.kill()
            server.communicate()

    def fail(self, program: str) -> str:
        """Run a program that must fail, and return its errors."""
        done = subprocess.run(
            [self._bin / program], cwd=self._bin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr


def test_both_distributions_have_one_version(dist: Path) -> None:
    core, plugin = (metadata_of(wheel_of(dist, name)) for name in ("trunkline", "livekit_plugins_trunkline"))
    assert core["Version"] == plugin["Version"]
    (bound,) = (line for line in plugin.get_all("Requires-Dist", []) if line.startswith("trunkline<"))
    major, minor, *_ = map(int, core["Version"].split("."))
    assert bound == f"trunkline<{major}.{minor + 1},>={major}.{minor}"


@pytest.mark.parametrize(
    ("name", "package"),
    [("trunkline", "trunkline"), ("livekit_plugins_trunkline", "livekit/plugins/trunkline")],
)
def test_a_wheel_has_its_package_licence_and_type_marker_and_nothing_else(
    dist: Path, name: str, package: str
) -> None:
    names = names_in(wheel_of(dist, name))
    info = [entry for entry in names if ".dist-info/" in entry]
    assert f"{package}/py.typed" in names
    assert [entry for entry in names if entry not in info and not entry.startswith(f"{package}/")] == []
    assert any(entry.endswith("/licenses/LICENSE") for entry in info)
    metadata = metadata_of(wheel_of(dist, name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Project-URL") is None, "no address exists yet"


def test_the_sdists_have_the_sources_without_benchmarks_tests_and_each_other(dist: Path) -> None:
    tops = {}
    for path in dist.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            tops[path.name.partition("-0")[0]] = {name.split("/")[1] for name in archive.getnames()}
    project = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert tops["trunkline"] - project == {"src", "examples", "CHANGELOG.md"}
    assert tops["livekit_plugins_trunkline"] - project == {"livekit"}


@pytest.mark.parametrize("versions", ["newest", "oldest"])
def test_the_wheel_works_in_a_clean_environment(dist: Path, tmp_path: Path, versions: str) -> None:
    wheel = wheel_of(dist, "trunkline")
    environment = Environment(tmp_path / "venv")
    bounds = oldest(wheel) if versions == "oldest" else []
    assert versions == "newest" or len(bounds) >= 8
    environment.install(
        wheel, *(bound for bound in bounds if bound.startswith(("picows", "msgspec", "httpx2")))
    )
    assert environment.run("python", "-c", "import trunkline; print(trunkline.Client.__name__)") == "Client\n"
    assert "pip install 'trunkline[cli]'" in environment.fail("trunkline")
    environment.install(f"{wheel}[{','.join(EXTRAS)}]", *bounds)
    assert environment.run("python", "-c", PROGRAM).splitlines() == ["two 1", "two 1"]
    assert environment.run("trunkline", "chat", "--prompt", "Hello") == "You said: Hello\n"
    assert "--emulator" in environment.run("trunkline", "doctor", "--help")
    listening = environment.first_line("trunkline", "serve", "--port", "0", "--admin-port", "0")
    assert listening.startswith("The gateway listens at http://")
    script = "from trunkline.gateway.ledger import SCRIPT; print('HGETALL' in SCRIPT)"
    assert environment.run("python", "-c", script) == "True\n"
    assert "All checks passed." in environment.run("python", "-m", "trunkline", "doctor", "--emulator")


def test_the_plugin_is_importable_in_a_clean_environment(dist: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(wheel_of(dist, "trunkline"), wheel_of(dist, "livekit_plugins_trunkline"))
    program = "from livekit.plugins import trunkline as plugin; print(plugin.LLM(api_key='k').model)"
    assert environment.run("python", "-c", program).strip()
