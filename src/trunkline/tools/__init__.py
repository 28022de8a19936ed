"""Python functions as tools: their definitions for the model, and the calls that the model asks for.

Failures of tools are logged with their traceback by the logger ``trunkline.tools``.
"""

from .failure import OnToolError, ToolFailure
from .function_tool import FunctionTool, tool
from .threads import ToolThreads
from .toolbox import Tool, Toolbox

__all__ = ["FunctionTool", "OnToolError", "Tool", "ToolFailure", "ToolThreads", "Toolbox", "tool"]
