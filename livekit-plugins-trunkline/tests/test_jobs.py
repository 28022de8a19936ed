"""The processes of LiveKit's job pool behind one gateway."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(300)
async def test_all_jobs_of_a_worker_share_one_socket_of_its_sidecar() -> None:
    command = (sys.executable, "-m", "bench.jobs", "--jobs", "2", "--round-trip-ms", "2")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=ROOT)
    output, complaints = (part.decode() for part in await process.communicate())
    rows = re.findall(r"each job dials the (\w+).*?(\d+) +(\d+)$", output, re.MULTILINE)
    assert [row[0] for row in rows] == ["service", "service", "sidecar", "sidecar"], complaints
    assert rows[0] == rows[1] == ("service", "2", "2")
    assert rows[2] == rows[3] == ("sidecar", "1", "0")
