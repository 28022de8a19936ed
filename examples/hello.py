"""The first program: one turn of a conversation, printed as it arrives.

Run it with OPENAI_API_KEY set, or without a key: `trunkline emulate python examples/hello.py`.
"""

import asyncio

import trunkline


async def main() -> None:
    async with trunkline.Client() as client:  # OPENAI_API_KEY, OPENAI_BASE_URL
        chat = client.conversation(model="gpt-6-astra", instructions="Be brief.")
        async with chat.send("Hello, who is there?") as stream:
            async for text in stream.text():
                print(text, end="", flush=True)


asyncio.run(main())
