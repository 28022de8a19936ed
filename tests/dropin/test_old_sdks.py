"""Versions 1 and 2 of the openai SDK, which are built on httpx, through the drop-in.

``make test-dropin`` installs one beside the newest SDK; elsewhere the test is deselected.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trunkline.emulator import Emulator

from .conftest import OLD_SDK

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio

import httpx
import openai
from openai import AsyncOpenAI, OpenAI

import trunkline.openai

async def talk():
    transport = trunkline.openai.AsyncTransport(httpx, lanes=True)
    http = httpx.AsyncClient(transport=transport, follow_redirects=True)
    async with AsyncOpenAI(http_client=http) as client:
        history = [{"role": "user", "content": "hello"}]
        first = await client.responses.create(model="reason", input=history)
        history += [*first.output, {"role": "user", "content": "more"}]
        raw = await client.responses.with_raw_response.create(model="reason", input=history)
        print(raw.headers["x-trunkline-mode"], raw.parse().output_text)
        stream = await client.responses.create(model="words-5", input="x", stream=True)
        print(sum([event.type == "response.output_text.delta" async for event in stream]))
        try:
            await client.responses.create(model="refuse-400-invalid_prompt", input="x")
        except openai.BadRequestError as error:
            print(error.code)

print(openai.__version__)
asyncio.run(talk())
transport = trunkline.openai.Transport(httpx, lanes=True)
with OpenAI(http_client=httpx.Client(transport=transport, follow_redirects=True)) as client:
    print(client.responses.create(model="echo", input="sync").output_text)
"""


@pytest.mark.old_sdk
def test_an_sdk_on_httpx_uses_the_drop_in() -> None:
    with Emulator().run_in_thread() as emulator:
        found: Any = {"OPENAI_API_KEY": emulator.api_key, "OPENAI_BASE_URL": emulator.base_url}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | found | {"PYTHONPATH": str(OLD_SDK)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        version = _versions()["HTTPX"]
        assert done.stdout.splitlines() == [version, "delta more", "5", "invalid_prompt", "sync"]
        assert {request.transport for request in emulator.requests} == {"websocket"}


def test_the_oldest_sdk_is_documented() -> None:
    assert f"`openai` {_versions()['OLDEST']} or later" in (ROOT / "docs" / "openai-sdk.md").read_text()


def _versions() -> dict[str, str]:
    """The versions of the SDK in the Makefile."""
    return dict(re.findall(r"^OPENAI_(\w+) := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
