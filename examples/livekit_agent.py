"""LiveKit voice agent with trunkline as its LLM: tools, and a handover to a second agent.

    pip install . ./livekit-plugins-trunkline livekit-plugins-openai     # in a clone of the repository
    OPENAI_API_KEY=... python examples/livekit_agent.py console          # in the terminal, with PortAudio
    LIVEKIT_URL=... python examples/livekit_agent.py dev                 # with a LiveKit server

STT and TTS are OpenAI's here; those of other providers work too.
"""

from __future__ import annotations

import os

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, RunContext, cli, function_tool
from livekit.plugins import openai, trunkline

MODEL = os.environ.get("MODEL", "gpt-6-astra")

server = AgentServer()


class Receptionist(Agent):
    """The first agent of a call."""

    def __init__(self) -> None:
        super().__init__(
            instructions="You are the receptionist of a small restaurant. You are speaking: be brief. "
            "Book tables yourself; leave every question about the food to the cook."
        )

    async def on_enter(self) -> None:
        """Greet the caller."""
        self.session.generate_reply(instructions="Greet the caller and ask what you can do.")

    @function_tool
    async def book_table(self, context: RunContext[None], guests: int, time: str) -> str:
        """Book a table.

        Args:
            guests: the number of people.
            time: the time, such as "tonight at eight".
        """
        return f"booked for {guests} people, {time}"

    @function_tool
    async def ask_the_cook(self, context: RunContext[None]) -> tuple[Agent, str]:
        """Hand the caller over to the cook."""
        return Cook(self), "The cook is on the line."


class Cook(Agent):
    """The second agent of a call. It continues with the receptionist's chat context."""

    def __init__(self, receptionist: Agent) -> None:
        super().__init__(
            instructions="You are the cook of a small restaurant. Answer questions about the food, briefly.",
            chat_ctx=receptionist.chat_ctx,
        )


@server.rtc_session()
async def answer(job: JobContext) -> None:
    """Run the session of one call."""
    llm = trunkline.LLM(model=MODEL)
    job.add_shutdown_callback(llm.aclose)  # LiveKit does not close it by itself
    session = AgentSession[None](stt=openai.STT(), llm=llm, tts=openai.TTS())
    await session.start(Receptionist(), room=job.room)


if __name__ == "__main__":
    cli.run_app(server)
