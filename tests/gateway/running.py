"""A gateway of tests, between its callers and an emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from openai import AsyncOpenAI

import trunkline
from trunkline.emulator import Emulator
from trunkline.gateway import Gateway
from trunkline.gateway.configuration import Configuration, of
from trunkline.gateway.serving import Served, served

KEYS = {"voice": "sk-of-voice", "batch": "sk-of-batch"}
"""The keys that two tenants show."""


@dataclass
class Running:
    """A gateway that listens on a free port."""

    gateway: Gateway
    served: Served
    api_key: str

    @property
    def base_url(self) -> str:
        return f"{self.served.url}/v1"

    def openai(self, api_key: str | None = None, **options: Any) -> AsyncOpenAI:
        """An SDK that knows the gateway by its URL alone."""
        options = {"max_retries": 0, "api_key": api_key or self.api_key, **options}
        return AsyncOpenAI(base_url=self.base_url, **options)

    def client(self, api_key: str | None = None, **options: Any) -> trunkline.Client:
        return trunkline.Client(
            base_url=self.base_url, api_key=api_key or self.api_key, **{"lanes": True, **options}
        )


@asynccontextmanager
async def running(
    emulator: Emulator, *, made: Callable[[Configuration], Gateway] = Gateway, **tables: Any
) -> AsyncIterator[Running]:
    """A gateway for everyone on this machine: callers show the emulator's key."""
    source = {
        "listen": {"port": 0},
        "admin": {"port": 0},
        "upstream": {"openai": {"base_url": emulator.base_url, "lanes": True}},
        **tables,
    }
    key = emulator.api_key or ""
    gateway = made(of(source, {"UPSTREAM_KEY": key}))
    async with served(gateway) as found:
        yield Running(gateway, found, key)


@asynccontextmanager
async def with_tenants(
    emulator: Emulator, voice: dict[str, Any] | None = None, **tables: Any
) -> AsyncIterator[Running]:
    """A gateway for two tenants, whose upstream key is the gateway's."""
    upstream = {"base_url": emulator.base_url, "lanes": True, "api_key_env": "UPSTREAM_KEY"}
    tenants = {name: {"keys_sha256": [sha256(key.encode()).hexdigest()]} for name, key in KEYS.items()}
    tenants["voice"].update(voice or {})
    source = {"upstream": {"openai": upstream}, "tenant": tenants, **tables}
    async with running(emulator, **source) as found:
        found.api_key = KEYS["voice"]
        yield found
