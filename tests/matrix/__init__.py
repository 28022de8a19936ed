"""The fault matrix: what goes wrong, when, and what becomes of the turn. One table, tested and printed."""
