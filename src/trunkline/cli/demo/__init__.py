"""``trunkline demo``."""

from .demo import run

__all__ = ["run"]
