"""Run one case for one client in its own process. The figures are the last line of the output."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from msgspec import json

from cases import CASES
from cases.bench import Bench


async def _measure(bench: Bench, case: str) -> None:
    async with asyncio.timeout(CASES[case].limit_s):
        figures = await CASES[case].measure(bench)
    print(json.encode(figures).decode(), flush=True)
    os._exit(0)  # the exit of a client is not measured, and may take long


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    asyncio.run(_measure(Bench(given.client, given.port, given.quick), given.case))
