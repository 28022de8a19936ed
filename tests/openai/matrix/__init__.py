"""The fault matrix of the openai SDK: what it raises over plain HTTP and through the drop-in."""
