"""Deviations of other servers from the protocol, by the name of the server."""

from .catalogue import QUIRKS, combined
from .quirks import PROXY_LIMIT_BYTES, Opening, Quirks, Reading

__all__ = ["PROXY_LIMIT_BYTES", "QUIRKS", "Opening", "Quirks", "Reading", "combined"]
