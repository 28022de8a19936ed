"""Environment of the benchmark: the newest version of every client, and this checkout of trunkline."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv-bench"
PYTHON = PLACE / "bin" / "python"
READY = PLACE / ".ready"
PACKAGES = (
    "openai[realtime]",
    "livekit-agents",
    "livekit-plugins-openai",
    "openai-agents",
    "pydantic-ai-slim[openai]",
    "pipecat-ai[openai]",
    "matplotlib",
)
_SHOWN = (
    "trunkline",
    "picows",
    "msgspec",
    "openai",
    "livekit-plugins-openai",
    "openai-agents",
    "pydantic-ai-slim",
    "pipecat-ai",
    "aiohttp",
    "websockets",
    "httpx2",
)


def make(*, refresh: bool = False) -> None:
    """Create or update the environment. Clients that cannot be installed are left out of the results.

    A program that was restarted there finds it up to date.
    """
    if READY.exists() and (not refresh or _is_there()):
        return
    print("making .venv-bench: a few minutes, once", flush=True)
    install = _created(PLACE)
    (PLACE / ".gitignore").write_text("*\n")
    ours = ["--editable", f"{ROOT}[emulator,gateway]"]
    if subprocess.run([*install, *ours, *PACKAGES], check=False).returncode:
        subprocess.run([*install, *ours], check=True)
        for package in PACKAGES:
            if subprocess.run([*install, package], check=False).returncode:
                print(f"{package} could not be installed; its clients are left out", flush=True)
    READY.touch()


def make_litellm(*, refresh: bool = False) -> None:
    """Create or update the environment of LiteLLM's proxy. Without it, its case has no figures."""
    place = PLACE / "litellm"
    if place.exists() and not refresh:
        return
    print("making .venv-bench/litellm: a few minutes, once", flush=True)
    if subprocess.run([*_created(place), "litellm[proxy]"], check=False).returncode:
        print("LiteLLM's proxy could not be installed; its figures are left out", flush=True)


def _created(place: Path) -> list[str]:
    """The command that installs packages into a new environment, or into the one that exists."""
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--upgrade"]
    subprocess.run([*pip, "pip>=25.1"], check=True)
    return pip


def go_there() -> None:
    """Restart the program in the environment, if this is another interpreter."""
    if not _is_there():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def _is_there() -> bool:
    return Path(sys.prefix) == PLACE


def description() -> dict[str, object]:
    """The versions of the packages, and the machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "commit": _commit(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """The versions of the packages that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _SHOWN:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()
