"""The gateway's live page in a real browser."""

from __future__ import annotations

from pathlib import Path

from trunkline.emulator import Emulator

from ..gateway.running import KEYS, with_tenants
from .browser import browsed

CELLS = (
    "[...document.querySelectorAll('#rows tr')].map((row) => [...row.cells].map((cell) => cell.innerText))"
)
FIGURES = "[...document.querySelectorAll('.figure')].map((box) => box.innerText.replace(/\\s+/g, ' '))"


async def test_it_shows_tenants_turns_and_the_stage(emulator: Emulator, tmp_path: Path) -> None:
    async with with_tenants(emulator) as gateway:
        assert gateway.served.admin_url is not None
        async with browsed(f"{gateway.served.admin_url}/", tmp_path) as page:
            await page.until("document.querySelectorAll('#rows tr').length === 2")
            assert await page.text("#stage") == "serving"
            for name, key in KEYS.items():
                async with gateway.openai(key) as client:
                    first = await client.responses.create(model="echo", input="hi")
                    if name == "voice":
                        parent = first.id
                        await client.responses.create(model="echo", input="on", previous_response_id=parent)
            await page.until(f"{CELLS}[0][5] === '2' && {CELLS}[1][5] === '1'")
            voice, batch = await page.evaluate(CELLS)
            assert voice[:1] + voice[2:9] == ["voice", "1", "1", "0", "2", "1", "1", "0"]
            assert batch[:1] + batch[2:9] == ["batch", "1", "1", "0", "1", "0", "1", "0"]
            assert "3 turns" in await page.evaluate(FIGURES)

            # Nothing leaves the listener, and nothing is refused by the policy of the page.
            assert {url.split("/")[2] for url in page.requested} == {gateway.served.admin_url.split("/")[2]}
            assert page.complaints == []

            gateway.gateway.life.cut()
            await page.until("document.querySelector('#stage').innerText === 'ended'")
