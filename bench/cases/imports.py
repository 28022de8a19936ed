"""Cost of importing a library, in a new interpreter."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from cases.bench import Bench, CannotRun, Figures, median

STATEMENTS = {
    "floor": "import picows, msgspec",
    "trunkline": "import trunkline",
    "livekit": "from livekit.plugins.openai import responses",
    "openai-http": "import openai",
    "openai-dropin": "import openai, trunkline.openai",
    "openai-agents": "import agents",
    "pydantic-ai": "from pydantic_ai.models.openai import OpenAIResponsesModel",
    "pipecat": "from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService",
}
_SCRIPT = """
import sys, time
known = set(sys.modules)
cpu, wall = time.process_time(), time.perf_counter()
{statement}
print(time.process_time() - cpu, time.perf_counter() - wall, len(set(sys.modules) - known))
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


async def imports(bench: Bench) -> Figures:
    """The import alone: CPU, wall time, modules, and the size of the process afterwards."""
    script = _SCRIPT.format(statement=STATEMENTS[bench.name])
    await _run(script)  # compiles files that the installation did not compile
    runs = [await _run(script) for _ in range(3 if bench.quick else 5)]
    names = ("cpu_ms", "wall_ms", "modules", "rss_mb")
    scale = (1e3, 1e3, 1, 1)
    return {name: median([run[i] for run in runs]) * scale[i] for i, name in enumerate(names)}


async def _run(script: str) -> list[float]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPYCACHEPREFIX"] = str(Path(sys.prefix) / "bytecode")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environ,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise CannotRun("its package is not installed")
    return [float(word) for word in out.split()]
