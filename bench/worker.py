"""Run one case for one client in its own process. The figures are the last line of the output."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from msgspec import json

from cases import CASES
from cases.bench import Bench, CannotRun


async def _measure(bench: Bench, case: str) -> None:
    try:
        async with asyncio.timeout(CASES[case].limit_s):
            figures: dict[str, Any] = dict(await CASES[case].measure(bench))
    except CannotRun as error:
        figures = {"skipped": str(error)}
    except NotImplementedError as error:
        figures = {"skipped": f"the client has no {error}"}
    except ModuleNotFoundError as error:
        figures = {"skipped": f"{error.name} is not installed"}
    print(json.encode(figures).decode(), flush=True)
    os._exit(0)  # the exit of a client is not measured, and may take long


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-gc", action="store_true", help="turn Python's collector off")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    if given.no_gc:
        gc.disable()
    asyncio.run(_measure(Bench(given.client, given.port, given.quick), given.case))
