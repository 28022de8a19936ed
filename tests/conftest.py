"""Fixtures that several test modules share. None is used unless it is asked for."""

from .peer import complaints, no_proxy, opened, server

__all__ = ["complaints", "no_proxy", "opened", "server"]
