"""Tests with programs that Python wheels do not bring: `make test-system`."""
