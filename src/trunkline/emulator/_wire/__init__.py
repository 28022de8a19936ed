"""The emulator's server: HTTP, server-sent events and WebSocket."""
