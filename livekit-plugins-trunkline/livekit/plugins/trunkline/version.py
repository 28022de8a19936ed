"""The version of this distribution: that of trunkline."""

__version__ = "0.2.0"
