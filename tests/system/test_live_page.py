"""The emulator's live page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trunkline
from trunkline.emulator import Emulator

from ..talk import client_of, first_text
from ..waiting import soon
from .browser import browsed

EVIL = "<img src=x onerror=alert(1)><script>document.title = 'changed'</script>"
ROWS = "[...document.querySelectorAll('#requests tr')].map((row) => row.innerText.replace(/\\s+/g, ' '))"
ITEMS = "[...document.querySelectorAll('#context li')].map((item) => item.innerText.replace(/\\s+/g, ' '))"


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"12 degrees in {city}"


async def test_it_shows_requests_lanes_and_effective_contexts(emulator: Emulator, tmp_path: Path) -> None:
    async with client_of(emulator) as client, browsed(emulator.live_url, tmp_path) as page:
        await page.until("!document.querySelector('#main').hidden")
        assert await page.text("#sockets") == "No socket is open."

        chat = client.conversation(model="mixed", tools=[get_weather], instructions=EVIL)
        await soon(chat.run(f"the weather in Oslo {EVIL}"))
        await page.until("document.querySelectorAll('#requests tr').length === 2")
        newest, oldest = await page.evaluate(ROWS)
        assert "response.create lane-0 mixed +1 5 " in newest
        assert "response.create lane-0 mixed 1 1 " in oldest
        assert newest.endswith("completed")

        # The newest response is shown, with what was sent before it and what is new.
        items = await page.until(f"{ITEMS}.length === 7 && {ITEMS}")
        assert items[0].startswith(f"user the weather in Oslo {EVIL}")
        assert [item.split()[0] for item in items[1:5]] == [
            "reasoning",
            "assistant",
            "function_call",
            "function_call_output",
        ]
        classes = "[...document.querySelectorAll('#context li')].map((item) => item.className)"
        assert await page.evaluate(classes) == ["", "", "", "", "new", "output", "output"]
        assert EVIL in await page.text("#facts")

        # A running answer is shown as such until it ends.
        gate = emulator.faults.hold(event=6)
        other = client.conversation(model="words-9")
        async with other.send("tell me") as stream:
            await first_text(stream)
            await page.until("document.querySelector('button.chip.busy') !== null")
            assert "in_progress" in (await page.until(f"{ROWS}.length === 3 && {ROWS}"))[0]
            await page.press("#requests tr:last-child")  # the user selects the first request
            await page.until(f"{ITEMS}.length === 4")
            gate.open()
            await soon(stream.finish())
        await page.until(f"{ROWS}[0].endsWith('completed')")
        await page.until("document.querySelector('button.chip.busy') === null")
        assert await page.evaluate(f"{ITEMS}.length") == 4

        # Refusals.
        with pytest.raises(trunkline.ResponseRefused):
            await soon(client.conversation(model="refuse-400-bad_thing").run("x"))
        assert (await page.until(f"{ROWS}.length === 4 && {ROWS}"))[0].endswith("400 bad_thing")

        assert await page.evaluate("document.title") == "trunkline emulator"
        assert await page.evaluate("document.querySelectorAll('img, #context script').length") == 0
        own = emulator.base_url.removesuffix("v1")
        assert {
            url.partition("?")[0].partition("#")[0] for url in page.requested if "/responses/" not in url
        } == {
            own,
            f"{own}live",
        }
        assert all(url.startswith(own) for url in page.requested)
        assert page.complaints == []


async def test_it_asks_for_the_key_and_keeps_it_out_of_urls(tmp_path: Path) -> None:
    async with Emulator(api_key="sk-of-the-test") as emulator:
        page_url = emulator.live_url.partition("#")[0]
        async with browsed(page_url, tmp_path) as page:
            await page.until("!document.querySelector('#ask').hidden")
            assert await page.evaluate("document.querySelector('#main').hidden")
            for key, told in (("sk-wrong", "this key is refused"), ("sk-of-the-test", "0 open sockets")):
                await page.evaluate(f"document.querySelector('#key').value = {json.dumps(key)}")
                await page.press("#ask button")
                await page.until(f"document.querySelector('#status').innerText.includes({json.dumps(told)})")
            assert await page.evaluate("document.querySelector('#ask').hidden")
            assert not any("sk-" in url.partition("#")[0] for url in page.requested)
        assert "sk-" not in repr(emulator.requests)


async def test_it_says_when_the_server_has_stopped(emulator: Emulator, tmp_path: Path) -> None:
    async with browsed(emulator.live_url, tmp_path) as page:
        await page.until("!document.querySelector('#main').hidden")
        await emulator.stop()
        await page.until("document.querySelector('#status').innerText.includes('does not answer')")


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_foreign_page_reaches_the_server_only_if_it_is_allowed(allowed: bool, tmp_path: Path) -> None:
    async with Emulator() as foreign:
        origin = foreign.live_url.partition("/#")[0]
        async with (
            Emulator(allowed_origins=[origin] if allowed else []) as emulator,
            # An answer without a policy of its own, so that only the emulator decides.
            browsed(f"{foreign.base_url}/nothing", tmp_path) as page,
        ):
            url = f"{emulator.base_url}/responses"
            post = {"method": "POST", "body": json.dumps({"model": "echo", "input": "hi"})}
            with_key = post | {"headers": {"Authorization": f"Bearer {emulator.api_key}"}}
            sent = f"fetch({url!r}, {json.dumps(with_key)}).then((answer) => answer.status, () => 'refused')"
            assert await page.evaluate(sent) == (200 if allowed else "refused")
            # Requests that a browser sends without asking the server first.
            await page.evaluate(f"fetch({url!r}, {json.dumps(post | {'mode': 'no-cors'})}).catch(() => 0)")
            socket = f"new WebSocket({url.replace('http', 'ws')!r})"
            await page.evaluate(f"new Promise((done) => {{ {socket}.onerror = done; }}).then(() => 0)")
            statuses = [request.error and request.error["status"] for request in emulator.requests]
            assert statuses == ([None, 401, 401] if allowed else [403, 403, 403])
            assert len(emulator.responses) == (1 if allowed else 0)
