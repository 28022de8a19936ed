"""Conversations with servers that others wrote, started as programs of their own: `make test-servers`."""
