"""The Responses API without sockets: responses, storage, lanes, steering and compaction."""
