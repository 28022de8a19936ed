"""Requests, items, events and errors of the Responses API, as data."""
