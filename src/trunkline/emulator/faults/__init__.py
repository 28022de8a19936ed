"""Faults on demand, and their YAML and JSON files."""

from .action import Action
from .fault import Fault, Fired, Place
from .faults import Faults
from .file import load_faults, parse_faults

__all__ = ["Action", "Fault", "Faults", "Fired", "Place", "load_faults", "parse_faults"]
