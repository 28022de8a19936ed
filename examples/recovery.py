"""Failures of the service: those that are recovered within the turn, and one that raises an exception.

The program starts its own emulator, to cause the failures.
"""

from __future__ import annotations

import asyncio

import trunkline
from trunkline.emulator import Emulator


async def main() -> None:
    async with (
        Emulator() as emulator,
        trunkline.Client(base_url=emulator.base_url, api_key=emulator.api_key, lanes=True) as client,
    ):
        chat = client.conversation(model="gpt-6-astra", store=False)
        await chat.run("Hello!")

        emulator.forget()  # the service loses all responses: the turn is repeated in full
        async with chat.send("Do you remember me?") as stream:
            await stream.finish()
        causes = ", ".join(cause.value for cause in stream.metrics.recoveries)
        print(f"forgotten: {stream.metrics.attempts} attempts, because of {causes}")

        await emulator.drop_connections()  # the connections are lost between two turns
        async with chat.send("Are you there?") as stream:
            await stream.finish()
        print("connection lost:", stream.metrics.mode, "on connection", stream.metrics.connection)

        before = chat.items
        try:
            await chat.run("Hello?", model="refuse-400-invalid_prompt")
        except trunkline.ResponseRefused as error:
            print("refused:", error.status, error.code, "- history unchanged:", chat.items == before)


if __name__ == "__main__":
    asyncio.run(main())
