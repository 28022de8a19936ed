"""The Responses API as a server sees it: requests over HTTP in, responses and events out.

The drop-in for the openai SDK is built on it.
"""
