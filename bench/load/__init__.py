"""The scripted server that every client is measured against."""
