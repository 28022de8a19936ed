"""Deterministic models: from a prompt to the steps of an answer."""
