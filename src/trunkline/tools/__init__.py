"""Python functions as tools: their definitions for the model, and the execution of its calls.

The logger ``trunkline.tools`` gets each failure of a tool with its traceback.
"""

from .failure import OnToolError, ToolFailure
from .function_tool import FunctionTool, tool
from .threads import ToolThreads
from .toolbox import Tool, Toolbox

__all__ = ["FunctionTool", "OnToolError", "Tool", "ToolFailure", "ToolThreads", "Toolbox", "tool"]
