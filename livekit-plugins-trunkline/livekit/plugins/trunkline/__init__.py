"""LiveKit Agents over a few warm WebSockets to the Responses API.

::

    from livekit.agents import AgentSession
    from livekit.plugins import trunkline

    session = AgentSession(llm=trunkline.LLM(model="gpt-6-astra"))

`LLM` takes the parameters of ``livekit.plugins.openai.responses.LLM``. LLMs of one event loop with the same
key and URL share sockets. The event ``metrics_collected`` emits `LLMMetrics`.
"""

from livekit.agents import Plugin
from trunkline import Client

from . import responses
from .llm import LLM
from .log import logger
from .metrics import LLMMetrics
from .stream import LLMStream
from .tools import HostedTool
from .version import __version__

__all__ = ["LLM", "Client", "HostedTool", "LLMMetrics", "LLMStream", "__version__", "responses"]


class TrunklinePlugin(Plugin):
    """The plugin's entry in LiveKit's list of plugins."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)


Plugin.register_plugin(TrunklinePlugin())
