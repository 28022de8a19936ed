"""Many LLM conversations over few warm WebSockets to the Responses API."""
