"""``trunkline doctor``."""

from .doctor import Settings, run

__all__ = ["Settings", "run"]
