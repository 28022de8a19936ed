"""Tests that build the distributions and install them in environments of their own: `make test-wheels`."""
