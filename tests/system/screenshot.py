"""Takes the picture of the gateway's live page: ``python -m tests.system.screenshot``.

It writes docs/pictures/gateway-page.png: two tenants whose conversations run on the emulator.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from openai import AsyncOpenAI

from trunkline.emulator import Emulator

from ..gateway.running import KEYS, with_tenants
from .browser import Page, browsed

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "gateway-page.png"
CONVERSATIONS = {"voice": 40, "batch": 12}
TURNS = 6
SIZE = (1000, 380)


async def talk(client: AsyncOpenAI, name: str, turns: int) -> None:
    """A conversation that sends its whole history."""
    held: list[object] = []
    for turn in range(turns):
        held.append({"role": "user", "content": f"{name}, turn {turn}"})
        response = await client.responses.create(model="echo", input=held)  # type: ignore[arg-type]
        held += [item.model_dump(exclude_none=True) for item in response.output]


async def take(page: Page) -> bytes:
    """The picture once answers run that are held."""
    await page.until("document.querySelector('.figure b')?.innerText > 0")
    return await page.screenshot()


async def main() -> None:
    """Play the conversations, and write the picture while their last answers run."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Emulator(first_token_s=0.02, tokens_per_second=200) as emulator,
            with_tenants(emulator) as gateway,
        ):
            assert gateway.served.admin_url is not None
            clients = {name: gateway.openai(key) for name, key in KEYS.items()}
            names = [(name, f"{name} {number}") for name in clients for number in range(CONVERSATIONS[name])]
            await asyncio.gather(*(talk(clients[name], each, TURNS) for name, each in names))
            gate = emulator.faults.hold(event_type="response.completed", times=None)
            last = asyncio.gather(*(talk(clients[name], each, 1) for name, each in names[::3]))
            async with browsed(f"{gateway.served.admin_url}/", Path(folder)) as page:
                await page.resize(*SIZE)
                await page.prefer("light")
                PICTURE.write_bytes(await take(page))
            gate.open()
            await last
            await asyncio.gather(*(client.close() for client in clients.values()))


if __name__ == "__main__":
    asyncio.run(main())
